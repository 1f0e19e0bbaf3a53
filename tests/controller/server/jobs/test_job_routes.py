"""A job's life, as the official SDK sees it."""

import time

import openai
import pytest

from backends.contract import inspector
from backends.testing import FAILS, GOES_WELL, INTERRUPTED_ONCE
from backends.testing.words import WordInspector
from controller.server.limits import Limits
from tests.controller.server.serve_helpers import (
    BASE,
    Trainer,
    lines,
    refused,
    serving,
    until,
    upload,
)


def create(client, file=None, **options):
    file = file or upload(client)
    return client.fine_tuning.jobs.create(model=BASE, training_file=file.id, **options)


def test_a_job_from_upload_to_answer(client):
    file = upload(client)
    held_out = upload(client, lines(3, start=100))
    job = create(
        client,
        file,
        validation_file=held_out.id,
        suffix="cafe",
        seed=7,
        metadata={"team": "growth"},
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "learning_rate_multiplier": 0.5}},
        },
    )
    assert job.status == "validating_files"
    assert job.hyperparameters.batch_size == "auto"
    done = until(client, job.id, "succeeded")
    assert done.fine_tuned_model.startswith(f"ft:{BASE}:local:cafe:")
    assert done.trained_tokens == 1000
    assert done.hyperparameters.to_dict() == {
        "n_epochs": 2,
        "batch_size": 8,
        "learning_rate_multiplier": 0.5,
    }
    assert (done.seed, done.metadata, done.error) == (7, {"team": "growth"}, None)
    assert done.method.supervised.hyperparameters.n_epochs == 2
    csv = client.files.content(done.result_files[0]).text
    assert csv.splitlines() == [
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy",
        "1,2.0,,,",
        "2,1.0,,1.5,",
    ]
    [checkpoint] = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert checkpoint.fine_tuned_model_checkpoint == done.fine_tuned_model
    assert checkpoint.metrics.full_valid_loss == 1.5
    answer = client.chat.completions.create(
        model=done.fine_tuned_model, messages=[{"role": "user", "content": "?"}]
    )
    assert answer.choices[0].message.content == "yes"


def test_the_backend_gets_canonical_bytes_and_the_spec_s_own_settings(tmp_path):
    seen = []

    class Watching(Trainer):
        def submit(self, request):
            seen.append((request, request.train.read_bytes(), request.train_origins.read_text()))
            return super().submit(request)

    written = lines().replace(b'{"messages"', b'\n{ "messages"')
    with serving(tmp_path, Watching(tmp_path / "s")) as server:
        file = upload(server.client, written)
        job = create(server.client, file, hyperparameters={"n_epochs": 4, "r": 4})
        until(server.client, job.id, "succeeded")
    [(request, train, origins)] = seen
    assert (
        train.splitlines()[0]
        == (
            '{"messages":[{"content":"질문 0?","role":"user"},'
            '{"content":"답 0.","role":"assistant"}]}'
        ).encode()
    )
    assert origins.splitlines()[:2] == [f"{file.id}:2", f"{file.id}:4"]
    settings = request.hyperparameters
    assert (settings["num_train_epochs"], settings["r"], request.seed) == (4, 4, job.seed)


def test_events_newest_first_with_metrics(client):
    job = create(client)
    until(client, job.id, "succeeded")
    events = client.fine_tuning.jobs.list_events(job.id, limit=50).data
    messages = [event.message for event in reversed(events) if event.type == "message"]
    assert messages[:3] == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {job.training_file}",
        "Files validated, moving job to queued state",
    ]
    assert messages[-1] == "The job has successfully completed"
    metrics = [event.data for event in events if event.type == "metrics"]
    assert metrics[0]["full_valid_loss"] == 1.5
    every = [event.id for event in client.fine_tuning.jobs.list_events(job.id, limit=2)]
    assert len(every) == len(set(every)) == len(events)


def test_a_job_keeps_all_the_metadata_that_the_openai_backend_may_write(client):
    metadata = {f"ftctl_origin_{number}": "x" * 512 for number in range(12)}
    metadata |= {"ftctl_fingerprint": "ft1:" + "ab" * 32, "ftctl_attempt": "1", "ftctl_name": "faq"}
    job = create(client, metadata=metadata)
    [listed] = client.fine_tuning.jobs.list(metadata={"ftctl_name": "faq"}).data
    assert listed.metadata == client.fine_tuning.jobs.retrieve(job.id).metadata == metadata


def test_pages_and_the_metadata_filter(client):
    file = upload(client)
    ids = [
        create(client, file, seed=n, metadata={"n": str(n % 2), "all": "x"} if n else None).id
        for n in range(7)
    ]
    jobs = client.fine_tuning.jobs
    assert [job.id for job in jobs.list(limit=2)] == ids[::-1]
    first = jobs.list(limit=3)
    assert (first.has_more, len(first.data)) == (True, 3)
    assert [job.id for job in jobs.list(metadata={"n": "1"}, limit=1)] == [ids[5], ids[3], ids[1]]
    assert [job.id for job in jobs.list(metadata={"n": "0", "all": "x"})] == [
        ids[6],
        ids[4],
        ids[2],
    ]
    assert [job.id for job in jobs.list(extra_query={"metadata": "null"})] == [ids[0]]
    assert jobs.list(metadata={"n": "2"}).data == []


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (lines(7), "invalid_n_examples", "has 7 example(s), but must have at least 10"),
        (lines(10) + b'{"messages": [\n', "invalid_training_file", "Line 11: not valid JSON"),
        (lines(3) + b'{"a": 1}\n' + lines(9), "invalid_training_file", "Line 4: there is no"),
        (
            b'{"messages": [{"role": "user", "content": "?"}]}\n' + lines(10),
            "invalid_training_file",
            "Line 1: there is no assistant turn",
        ),
        (b"\xff\xfe\xfa" + lines(10), "invalid_training_file", "invalid UTF-16"),
        (b"a\0b", "invalid_training_file", "Line 1: a NUL byte"),
    ],
)
def test_a_bad_training_file_fails_the_job_with_its_lines(client, content, code, said):
    job = create(client, upload(client, content))
    failed = until(client, job.id, "failed")
    assert (failed.error.code, failed.error.param) == (code, "training_file")
    assert said in failed.error.message
    assert failed.finished_at
    assert failed.fine_tuned_model is None


def test_what_the_trainer_would_refuse_fails_before_training(tmp_path):
    backend = Trainer(tmp_path / "s")
    backend.words = WordInspector(refused="<|im_end|>", limits=inspector.Limits(min_examples=11))
    told = lines(11).replace("답 3.".encode(), b"<|im_end|>")
    with serving(tmp_path, backend) as server:
        few = until(
            server.client, create(server.client, upload(server.client, lines(10))).id, "failed"
        )
        bad = until(server.client, create(server.client, upload(server.client, told)).id, "failed")
        assert server.backend.calls["submit"] == 0
    assert few.error.code == "invalid_n_examples"
    assert "must have at least 11 examples" in few.error.message
    assert bad.error.code == "invalid_training_file"
    assert "Line 4: the trainer refuses '<|im_end|>'" in bad.error.message


def test_a_bad_validation_file_is_named(client):
    held_out = upload(client, b"[]\n")
    job = create(client, validation_file=held_out.id)
    failed = until(client, job.id, "failed")
    assert (failed.error.code, failed.error.param) == ("invalid_validation_file", "validation_file")


def test_equal_requests_share_a_run_and_each_has_its_model(server):
    client = server.client
    file, again = upload(client), upload(client)
    one = create(client, file, seed=1, suffix="a")
    two = create(client, again, seed=1, suffix="b")
    models = {until(client, job.id, "succeeded").fine_tuned_model for job in (one, two)}
    assert len(models) == 2
    assert server.backend.submitted == 1
    first, second = sorted(models)
    client.models.delete(first)
    assert server.backend.calls["delete"] == 0
    client.models.delete(second)
    assert server.backend.calls["delete"] == 1
    three = create(client, file, seed=1)
    until(client, three.id, "succeeded")
    assert server.backend.submitted == 2


def test_a_failed_run_says_why_and_is_tried_anew(tmp_path):
    scripts = iter([FAILS, GOES_WELL])
    backend = Trainer(tmp_path / "s", script=lambda _: next(scripts))
    with serving(tmp_path, backend) as server:
        file = upload(server.client)
        failed = until(server.client, create(server.client, file, seed=1).id, "failed")
        said = (failed.error.code, failed.error.message)
        assert said == ("training_failed", "the script says so")
        until(server.client, create(server.client, file, seed=1).id, "succeeded")
        assert [job.attempt for job in backend.jobs] == [1, 2]


def test_an_interrupted_run_goes_on_by_itself(tmp_path):
    with serving(tmp_path, Trainer(tmp_path / "s", script=INTERRUPTED_ONCE)) as server:
        until(server.client, create(server.client).id, "succeeded")
        assert server.backend.submitted == 1


def test_cancelling_stops_the_run_unless_another_job_wants_it(tmp_path):
    with serving(tmp_path, Trainer(tmp_path / "s", script=["running"])) as server:
        client, file = server.client, upload(server.client)
        one, two = (create(client, file, seed=1) for _ in range(2))
        for job in (one, two):
            until(client, job.id, "running")
        assert client.fine_tuning.jobs.cancel(one.id).status == "cancelled"
        assert client.fine_tuning.jobs.cancel(one.id).status == "cancelled"
        assert client.fine_tuning.jobs.retrieve(two.id).status == "running"
        client.fine_tuning.jobs.cancel(two.id)
        # An equal job begun right then does not join the run that is being stopped.
        three = create(client, file, seed=1)
        until(client, three.id, "running")
        assert [job.state for job in server.backend.jobs] == ["cancelled", "running"]


def test_pausing_and_going_on(tmp_path):
    with serving(tmp_path, Trainer(tmp_path / "s", script=["running"])) as server:
        jobs = server.client.fine_tuning.jobs
        job = create(server.client)
        until(server.client, job.id, "running")
        assert jobs.pause(job.id).status in {"pausing", "paused"}
        until(server.client, job.id, "paused")
        assert jobs.resume(job.id).status == "queued"
        until(server.client, job.id, "succeeded")
        assert server.backend.submitted == 1
        assert refused(jobs.pause, job.id) == (400, "job_already_ended", None)
        assert refused(jobs.cancel, job.id) == (400, "job_already_ended", None)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model": "gpt-4.1-mini"}, (400, "model_not_available", "model")),
        ({"training_file": "file-nope"}, (404, "not_found", "training_file")),
        ({"training_file": "../../etc/passwd"}, (404, "not_found", "training_file")),
        ({"validation_file": "file-nope"}, (404, "not_found", "validation_file")),
        ({"suffix": "x" * 65}, (400, "invalid_value", "suffix")),
        ({"seed": -1}, (400, "invalid_value", "seed")),
        ({"seed": "1"}, (400, "invalid_value", "seed")),
        ({"metadata": {"k" * 65: "v"}}, (400, "invalid_value", f"metadata.{'k' * 65}")),
        ({"metadata": {str(n): "v" for n in range(17)}}, (400, "invalid_value", "metadata")),
        (
            {"hyperparameters": {"n_epochs": 51}},
            (400, "invalid_value", "hyperparameters.n_epochs"),
        ),
        (
            {"hyperparameters": {"batch_size": True}},
            (400, "invalid_value", "hyperparameters.batch_size"),
        ),
        (
            {"hyperparameters": {"learning_rate_multiplier": 1e9}},
            (400, "invalid_value", "hyperparameters.learning_rate_multiplier"),
        ),
        ({"hyperparameters": {"rank": 4}}, (400, "invalid_value", "hyperparameters.rank")),
        ({"method": {"type": "dpo"}}, (400, "method_not_available", "method.type")),
        (
            {"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]},
            (400, "integration_not_available", "integrations"),
        ),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(client, options, expected):
    given = {"model": BASE, "training_file": upload(client).id, **options}
    assert refused(client.fine_tuning.jobs.create, **given) == expected
    assert client.fine_tuning.jobs.list().data == []


def test_a_file_for_another_purpose_is_refused(client):
    file = upload(client, purpose="batch")
    found = refused(client.fine_tuning.jobs.create, model=BASE, training_file=file.id)
    assert found == (400, "invalid_file_purpose", "training_file")


def test_unknown_jobs_are_unknown_everywhere(client):
    jobs = client.fine_tuning.jobs
    for call in (jobs.retrieve, jobs.cancel, jobs.pause, jobs.resume, jobs.list_events):
        assert refused(call, "ftjob-nope") == (404, "not_found", "id")
    assert refused(jobs.checkpoints.list, "ftjob-nope") == (404, "not_found", "id")
    assert refused(jobs.list, after="ftjob-nope") == (400, None, "after")


def test_a_job_whose_base_model_left_says_so(tmp_path):
    backend = Trainer(tmp_path / "s")
    backend.missing = frozenset({f"../models/{BASE}"})
    with serving(tmp_path, backend) as server:
        file = upload(server.client)
        found = refused(server.client.fine_tuning.jobs.create, model=BASE, training_file=file.id)
        assert found == (400, "model_not_available", "model")


def test_a_running_job_is_looked_at_as_often_as_said(tmp_path):
    limits = Limits(poll_s=0.2)
    with serving(tmp_path, Trainer(tmp_path / "s", script=["running"]), limits) as server:
        until(server.client, create(server.client).id, "running")
        before = server.backend.calls["observe"]
        time.sleep(1)
        assert 2 <= server.backend.calls["observe"] - before <= 6


@pytest.mark.parametrize(
    ("given", "param", "meant"),
    [
        ({"sufix": "cafe"}, "sufix", "suffix"),
        ({"hyperparameter": {}}, "hyperparameter", "hyperparameters"),
        (
            {"method": {"type": "supervised", "superviced": {}}},
            "method.superviced",
            "supervised",
        ),
        ({"method": {"type": "supervised", "supervised": {"x": 1}}}, "method.supervised.x", None),
    ],
)
def test_a_misspelt_key_of_a_job_is_refused(client, given, param, meant):
    body = {"model": BASE, "training_file": upload(client).id, **given}
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/fine_tuning/jobs", body=body, cast_to=object)
    assert (caught.value.code, caught.value.param) == ("unknown_parameter", param)
    assert (f"Did you mean `{meant}`?" in str(caught.value)) == (meant is not None)
