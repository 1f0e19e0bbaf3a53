"""The backend over its files: estimates, logs and lists, without any training."""

import json
import os
import time
from dataclasses import replace

import pytest

from backends.contract.errors import HyperparametersInvalid
from backends.contract.jobs import BaseModel, JobState, TrainRequest
from backends.local_gpu.backend import LocalGpuBackend
from backends.local_gpu.jobs.run_dir import create, write_end
from backends.local_gpu.jobs.speeds import remember
from backends.local_gpu.jobs.worker_record import write_worker
from backends.local_gpu.jobs.workers.process_identity import describe

BASE = BaseModel(reference="/models/none", revision=None, identity="sha256:1")


@pytest.fixture
def backend(tmp_path):
    return LocalGpuBackend(tmp_path / "state")


@pytest.fixture
def make_request(tmp_path, backend):
    """Return a function that makes a request without a base model."""
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")

    def make(letter="a", method="supervised", name="cafe", attempt=1, **settings):
        return TrainRequest(
            name=name,
            fingerprint=f"ft1:{letter * 64}",
            attempt=attempt,
            base_model=BASE,
            method=method,
            hyperparameters=backend.parse_hyperparameters(method, settings),
            seed=1,
            train=empty,
            held_out=empty,
            train_origins=empty,
        )

    return make


@pytest.mark.parametrize(
    ("settings", "examples", "steps"),
    [
        ({}, 24, 9),
        ({}, 25, 12),
        ({}, 1, 3),
        ({"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}, 24, 9),
        ({"gradient_accumulation_steps": 100}, 24, 3),
        ({"num_train_epochs": 1, "per_device_train_batch_size": 1}, 24, 24),
    ],
)
def test_the_steps_of_a_training_are_known(backend, make_request, settings, examples, steps):
    estimate = backend.estimate(make_request(**settings), examples, None)
    assert (estimate.steps, estimate.usd, estimate.gpu_hours) == (steps, (0.0, 0.0), None)


@pytest.mark.parametrize(
    ("settings", "steps", "earlier"),
    [
        ({"max_steps": 5}, 5, False),
        ({"max_steps": 500}, 9, False),
        ({"early_stopping": {"patience": 1}}, 9, True),
        ({"early_stopping": {"patience": 2}}, 9, False),  # it ends with the third measurement
        ({"early_stopping": {"patience": 2}, "eval_steps": 2}, 9, True),
        ({"early_stopping": {"patience": 2}, "eval_steps": 2, "max_steps": 6}, 6, False),
    ],
)
def test_what_may_end_a_training_is_in_its_estimate(
    backend, make_request, settings, steps, earlier
):
    estimate = backend.estimate(make_request(**settings), 24, None)
    assert (estimate.steps, estimate.may_stop_earlier) == (steps, earlier)


def test_what_may_end_a_training_is_in_its_hours(backend, make_request, tmp_path):
    def hours(**settings):
        request = replace(make_request(**settings), max_gpu_hours=1.0)
        return backend.estimate(request, 24, 7200).gpu_hours

    facts = {"seconds": 3600.0, "device": "cpu", "trained_tokens": 21_600, "epochs": 3}
    (tmp_path / "state").mkdir()
    remember(tmp_path / "state", make_request(), facts, 24)
    whole = hours()
    assert whole is not None
    assert hours(max_steps=3) == pytest.approx([one / 3 for one in whole])
    stopping = hours(early_stopping={"patience": 1})
    assert stopping == pytest.approx([whole[0] * 2 / 3, whole[1]])


@pytest.mark.parametrize(
    ("examples", "tokens", "steps"),
    [
        (10, None, None),  # how many blocks there are follows from the tokens
        (10, 100, 3 * 2),
        (10, 6400, 3 * 13),
        (200, 6400, 3 * 25),  # at least a block for each text
    ],
)
def test_texts_are_trained_in_blocks(backend, make_request, examples, tokens, steps):
    request = make_request(method="continued-pretraining", max_length=64)
    assert backend.estimate(request, examples, tokens).steps == steps


@pytest.mark.parametrize(
    ("context", "steps"),
    [
        (16, 3 * 50),  # 6,400 tokens in blocks of 16, eight to a step
        (128, 3 * 13),
        (None, 3 * 13),
        ("many", 3 * 13),
    ],
)
def test_no_block_is_longer_than_what_the_base_model_reads(
    backend, make_request, tmp_path, context, steps
):
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": context}))
    base = BaseModel(reference=str(tmp_path), revision=None, identity="sha256:1")
    request = replace(make_request(method="continued-pretraining", max_length=64), base_model=base)
    assert backend.estimate(request, 10, 6400).steps == steps
    # Conversations are read whole, whatever the model reads.
    assert backend.estimate(replace(make_request(), base_model=base), 24, 6400).steps == 9


def test_what_the_backend_can_do(backend):
    found = backend.capabilities()
    assert found.methods == {"supervised", "dpo", "kto", "continued-pretraining"}
    assert (found.remote, found.paid, found.gpu_hours, found.endpoints) == (
        False,
        False,
        True,
        False,
    )
    assert backend.answers(BASE)


def test_jobs_are_found_by_fingerprint_and_by_name(backend, make_request, tmp_path):
    requests = [make_request("a"), make_request("a", attempt=2), make_request("b", name="faq")]
    runs = [create(tmp_path / "state", request) for request in requests]
    ids = [run.job_id for run in runs]
    found = backend.find_jobs([request.fingerprint for request in requests] + ["ft1:" + "c" * 64])
    assert {key: [job.id for job in jobs] for key, jobs in found.items()} == {
        requests[0].fingerprint: ids[:2],
        requests[2].fingerprint: ids[2:],
    }
    named = backend.find_jobs_by_name(["faq", "cafe", "nobody"])
    assert {name: [job.id for job in jobs] for name, jobs in named.items()} == {
        "cafe": ids[:2],
        "faq": ids[2:],
    }
    assert backend.observe([*ids, "run-" + "0" * 16 + "-1"]).keys() == set(ids)


def test_the_log_of_a_running_job_is_its_progress(backend, make_request, tmp_path):
    run = create(tmp_path / "state", make_request())
    write_worker(run, describe(os.getpid(), 1, "cpu"))
    lines = [
        {"time_s": 1.5, "message": "training on cpu"},
        {"time_s": 2.0, "step": 0, "total_steps": 9, "epoch": 0, "held_out_loss": 3.25},
        {
            "time_s": 3.0,
            "step": 1,
            "total_steps": 9,
            "epoch": 0.3,
            "loss": 2.0,
            "tokens_per_s": 12345.678,
        },
        {"time_s": 4.0, "step": 2, "total_steps": 9, "epoch": 0.6, "loss": None},
    ]
    run.progress.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"torn')
    events = list(backend.events(run.job_id))
    assert [(event.time_s, event.message) for event in events] == [
        (1.5, "training on cpu"),
        (2.0, "step 0/9 · held-out loss 3.25"),
        (3.0, "step 1/9 · loss 2 · tokens/s 1.235e+04"),
        (4.0, "step 2/9"),
    ]
    assert events[0].data == {}
    assert events[1].data == {"step": 0, "total_steps": 9, "epoch": 0, "held_out_loss": 3.25}


@pytest.mark.parametrize(
    ("state", "ending"),
    [
        ("failed", ["last words", "failed: it broke\n    Fix it."]),
        ("cancelled", ["cancelled: cancelled"]),
        (None, ["last words"]),  # it is interrupted
    ],
)
def test_the_log_of_a_job_ends_with_why_it_ended(backend, make_request, tmp_path, state, ending):
    run = create(tmp_path / "state", make_request())
    run.log.write_text("\nlast words\n\n")
    if state is not None:
        write_end(run, state, "it broke", "Fix it.")
    assert [event.message for event in backend.events(run.job_id)] == ending


def test_a_job_without_a_log_has_no_events(backend, make_request, tmp_path):
    run = create(tmp_path / "state", make_request())
    assert list(backend.events(run.job_id)) == []
    assert list(backend.events("run-nowhere")) == []


def test_a_deleted_model_may_be_trained_again(backend, make_request, tmp_path):
    request = make_request()
    run = create(tmp_path / "state", request)
    run.model.mkdir()
    run.result.write_text('{"state": "succeeded"}')
    (job,) = backend.find_jobs([request.fingerprint])[request.fingerprint]
    assert job.state is JobState.SUCCEEDED
    backend.delete(job.result.model_id)
    assert backend.find_jobs([request.fingerprint]) == {}
    assert list(run.path.parent.iterdir()) == []


def test_a_thousand_jobs_are_listed_in_a_moment(backend, make_request, tmp_path):
    state = tmp_path / "state"
    first = create(state, make_request())
    request = json.loads(first.request.read_text())
    for number in range(1000):
        folder = first.path.with_name(f"{number:016x}-1")
        folder.mkdir()
        request["fingerprint"] = f"ft1:{number:064x}"
        (folder / "request.json").write_text(json.dumps(request))
    began = time.process_time()
    assert len(backend.find_jobs_by_name(["cafe"])["cafe"]) == 1001
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize(
    "settings", [{"target_modules": ["q_prj"]}, {"target_modules": ["q_proj", "norm"]}]
)
def test_layers_that_the_base_model_lacks_are_named_before_training(backend, tmp_path, settings):
    import struct  # noqa: PLC0415

    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    shapes = {"model.layers.0.self_attn.q_proj.weight": [4, 4], "model.norm.weight": [4]}
    tensors = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
        for name, shape in shapes.items()
    }
    header = json.dumps(tensors).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    base = BaseModel(reference=str(tmp_path), revision=None, identity="sha256:1")
    complete = backend.parse_hyperparameters("supervised", settings)
    with pytest.raises(HyperparametersInvalid) as caught:
        backend.inspector(base, "supervised", complete)
    (problem,) = caught.value.problems
    assert problem.field == "target_modules"
    fitting = backend.parse_hyperparameters("supervised", {"target_modules": ["q_proj"]})
    assert backend.inspector(base, "supervised", fitting).base_model == base
