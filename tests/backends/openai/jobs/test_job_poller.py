"""Finding and observing jobs: one call for many, progress, results, cancelling."""

import base64
import json
from dataclasses import replace

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import JobState
from backends.testing import check_backend
from tests.backends.openai.openai_helpers import MODEL, QUICK
from tests.backends.openai.servers.fault_server import Fault

JOBS = ("GET", "/fine_tuning/jobs")
CSV = b"step,train_loss,full_valid_loss\n1,2.5,\n2,1.5,1.8\n3,0.5,1.9\n"


def fill(server, backend, request, number):
    """Make many jobs out of one; return them by fingerprint."""
    first = server.jobs.pop(backend.submit(request).id)
    made = {}
    for one in range(number):
        job_id, fingerprint = f"ftjob-{one:05d}", f"ft1:{one:064d}"
        metadata = {"ftctl_fingerprint": fingerprint, "ftctl_attempt": "1"}
        server.jobs[job_id] = first | {"id": job_id, "metadata": metadata, "status": "running"}
        made[fingerprint] = job_id
    server.requests.clear()
    return made


def test_all_questions_of_a_pass_about_a_thousand_jobs_take_ten_calls(
    server, backend, make_request
):
    made = fill(server, backend, make_request(), 1000)

    seen = backend.observe(made.values())
    found = backend.find_jobs(made)
    named = backend.find_jobs_by_name(["nobody", "cafe-consultant"])

    assert set(seen) == set(made.values())
    assert {job.state for job in seen.values()} == {JobState.RUNNING}
    assert {key: jobs[0].id for key, jobs in found.items()} == made
    assert named == {}
    assert [one[:2] for one in server.requests] == [JOBS] * 10


def test_the_list_is_read_anew_after_a_change_and_after_a_while(server, open_backend, make_request):
    backend = open_backend(retry_policy=replace(QUICK, list_s=60.0))
    made = fill(server, backend, make_request(), 9)
    assert len(backend.find_jobs(made)) == 9

    new = backend.submit(make_request(attempt=2))
    assert backend.find_jobs([new.fingerprint])[new.fingerprint] == (new,)
    backend.cancel(new.id)
    assert backend.find_jobs([new.fingerprint])[new.fingerprint][0].state is JobState.CANCELLED

    hasty = open_backend(retry_policy=replace(QUICK, list_s=0.0))
    hasty.find_jobs(made)
    server.jobs.clear()
    assert hasty.find_jobs(made) == {}


def test_half_a_list_is_never_taken_for_all_of_it(server, backend, make_request):
    made = fill(server, backend, make_request(), 250)
    whole = server.list_jobs
    failing = iter([False, True])
    server.route = lambda _method, path, query, body: (
        (403, {"error": {"message": "no", "code": None}})
        if path == JOBS[1] and next(failing, False)
        else whole(query, body)
    )
    with pytest.raises(BackendError, match="HTTP 403"):
        backend.find_jobs(made)

    assert len(backend.find_jobs(made)) == 250


def test_a_list_is_read_only_until_every_job_was_seen(server, backend, make_request):
    made = list(fill(server, backend, make_request(), 1000).values())

    backend.observe(made[-50:])

    assert len(server.requests) == 1


def test_find_returns_every_attempt_oldest_first(server, backend, make_request):
    first, second = backend.submit(make_request()), backend.submit(make_request(attempt=2))
    server.jobs[first.id] |= {"status": "failed", "created_at": 5}
    fingerprint = make_request().fingerprint

    found = backend.find_jobs([fingerprint, "ft1:unknown"])

    assert set(found) == {fingerprint}
    assert [(job.id, job.attempt) for job in found[fingerprint]] == [(first.id, 1), (second.id, 2)]


def test_the_contract_is_kept(server, backend, make_request):
    server.finishes = True
    server.models[MODEL] = {"id": MODEL, "object": "model", "created": 1, "owned_by": "openai"}

    check_backend(backend, make_request(), timeout_s=5, poll_s=0.01)


@pytest.mark.parametrize("attempt", [1, 3])
def test_without_metadata_jobs_are_found_by_the_suffix(server, open_backend, make_request, attempt):
    server.no_metadata = server.ignore_filter = True
    request = make_request(attempt=attempt)
    job = open_backend().submit(request)

    found = open_backend().find_jobs([request.fingerprint])

    assert [(one.id, one.attempt) for one in found[request.fingerprint]] == [(job.id, attempt)]


def test_without_metadata_this_machine_remembers_the_key(server, backend, make_request):
    server.no_metadata = True
    job = backend.submit(make_request())

    assert backend.observe([job.id])[job.id].fingerprint == make_request().fingerprint


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("validating_files", JobState.QUEUED),
        ("queued", JobState.QUEUED),
        ("running", JobState.RUNNING),
        ("paused", JobState.RUNNING),
        ("some_new_word", JobState.RUNNING),
        (None, JobState.RUNNING),
        ("succeeded", JobState.RUNNING),
        ("failed", JobState.FAILED),
        ("cancelled", JobState.CANCELLED),
        ("canceled", JobState.CANCELLED),
    ],
)
def test_states(server, backend, make_request, status, state):
    job = backend.submit(make_request())
    server.jobs[job.id]["status"] = status

    seen = backend.observe([job.id])[job.id]

    assert seen.state is state
    assert (seen.error is not None) == (status == "paused")


def test_an_answer_with_nothing_but_an_id_is_an_open_job(server, backend, make_request):
    job = backend.submit(make_request())
    server.jobs[job.id] = {"id": job.id}

    assert backend.observe([job.id])[job.id].state is JobState.RUNNING


def test_a_job_that_is_gone_is_absent_but_a_wrong_address_is_an_error(
    server, backend, open_backend
):
    assert backend.observe(["ftjob-gone"]) == {}
    assert backend.observe([f"ftjob-{n}" for n in range(9)]) == {}

    server.put_fault("GET", "/fine_tuning/jobs/ftjob-gone", Fault("404", body="<h1>Not Found"))
    with pytest.raises(BackendError, match="does not speak the OpenAI API"):
        open_backend().observe(["ftjob-gone"])
    for said in ("Invalid URL (GET /v1/v1/fine_tuning/jobs/ftjob-gone)", "Resource not found"):
        body = {"error": {"message": said, "code": "404"}}
        server.put_fault("GET", "/fine_tuning/jobs/ftjob-gone", Fault("404", body=body))
        with pytest.raises(BackendError, match="does not know this address"):
            open_backend().observe(["ftjob-gone"])


def test_progress_comes_from_the_events(server, backend, make_request):
    job = backend.submit(make_request())
    server.jobs[job.id]["status"] = "running"
    server.events[job.id] = [
        event(1, "Created fine-tuning job", {}),
        event(2, "Step 2/10", {"step": 2, "total_steps": 10, "train_loss": 1.5}, "metrics"),
        event(3, "Step 4/10", {"step": 4, "total_steps": 10, "full_valid_loss": 0.5}, "metrics"),
        event(4, "something else", None),
    ]

    progress = backend.observe([job.id])[job.id].progress
    log = list(backend.events(job.id))

    assert (progress.step, progress.total_steps, progress.held_out_loss) == (4, 10, 0.5)
    assert [one.message for one in log][::3] == ["Created fine-tuning job", "something else"]
    assert log[1].data["train_loss"] == 1.5


def test_many_jobs_show_their_progress_in_turn(server, backend, make_request):
    made = list(fill(server, backend, make_request(), 10).values())
    for job_id in made:
        server.events[job_id] = [event(1, "Step 1/9", {"step": 1, "total_steps": 9}, "metrics")]

    looks = [backend.observe(made) for _ in range(3)]

    shown = [sum(job.progress is not None for job in look.values()) for look in looks]
    assert shown == [4, 8, 10]


def event(number, message, data, kind="message"):
    return {
        "id": f"ftevent-{number}",
        "object": "fine_tuning.job.event",
        "created_at": number,
        "level": "info",
        "message": message,
        "type": kind,
        "data": data,
    }


@pytest.mark.parametrize("content", [CSV, base64.b64encode(CSV), b"\xef\xbb\xbf" + CSV])
def test_a_succeeded_job_leaves_facts(server, backend, make_request, content):
    job = backend.submit(make_request())
    file = server.add_file("result.csv", len(content), "fine-tune-results", content)
    model = server.finish(job.id, result_files=[file["id"]])
    server.models[model]["shutdown_date"] = "2027-01-14"

    seen = backend.observe([job.id])[job.id]

    assert (seen.state, seen.result.model_id) == (JobState.SUCCEEDED, model)
    facts = json.loads(json.dumps(seen.result.facts))
    assert facts["trained_tokens"] == 1234
    assert facts["resolved_hyperparameters"]["n_epochs"] == 3
    assert facts["shutdown_date"] == "2027-01-14"
    assert facts["metrics"] == {
        "steps": 3,
        "loss": 0.5,
        "held_out_loss": 1.9,
        "best_held_out_loss": 1.8,
    }
    assert [one["step"] for one in facts["checkpoints"]] == [10, 20]
    assert "usd" not in facts


@pytest.mark.parametrize("content", [b"", b"\xff\xfe junk", b"not a table", b"c3RlcA=="])
def test_an_unreadable_result_file_is_no_problem(server, backend, make_request, content):
    job = backend.submit(make_request())
    file = server.add_file("result.csv", len(content), "fine-tune-results", content)
    server.finish(job.id, result_files=[file["id"], None])

    assert "metrics" not in backend.observe([job.id])[job.id].result.facts


def test_a_failed_job_names_the_source_lines(server, backend, make_request):
    job = backend.submit(make_request())
    message = "Invalid file format. Example 3, message 2 Discriminator 'role' is missing in value"
    server.jobs[job.id] |= {
        "status": "failed",
        "error": {"code": "invalid_training_file", "message": message, "param": None},
    }

    error = backend.observe([job.id])[job.id].error

    assert error.splitlines() == [
        f"invalid_training_file: {message}",
        "data/cafe.csv:4 (example 3)",
        "Correct the examples named above, then apply again.",
    ]


@pytest.mark.parametrize(
    "error", [None, {}, {"code": None, "message": None, "param": None}, "text", 5]
)
def test_errors_of_every_shape_are_read(server, backend, make_request, error):
    job = backend.submit(make_request())
    server.jobs[job.id] |= {"status": "failed", "error": error}

    assert backend.observe([job.id])[job.id].error == ("text" if error == "text" else None)


def test_cancelling_is_repeatable_and_leaves_finished_jobs_alone(server, backend, make_request):
    job = backend.submit(make_request())

    backend.cancel(job.id)
    backend.cancel(job.id)
    backend.cancel("ftjob-gone")

    assert server.jobs[job.id]["status"] == "cancelled"
    server.finish(job.id)
    backend.cancel(job.id)
    assert server.jobs[job.id]["status"] == "succeeded"


@pytest.mark.parametrize("status", ["400", "409", "500"])
def test_a_job_that_is_over_need_not_be_cancelled(server, backend, make_request, status):
    job = backend.submit(make_request())
    cancel = ("POST", f"/fine_tuning/jobs/{job.id}/cancel")
    faults = [Fault(status, headers={"retry-after-ms": "1"})] * 3
    server.put_fault(*cancel, *faults)
    with pytest.raises(BackendError, match=f"HTTP {status}"):
        backend.cancel(job.id)

    server.finish(job.id)
    server.put_fault(*cancel, *faults)
    backend.cancel(job.id)


def test_pause_and_resume(backend, make_request):
    job = backend.submit(make_request())

    backend.pause(job.id)
    assert "resume it" in backend.observe([job.id])[job.id].error
    backend.resume(job.id)
    assert backend.observe([job.id])[job.id].state is JobState.QUEUED


def test_looks_at_the_same_jobs_are_spaced(server, open_backend, make_request):
    backend = open_backend(retry_policy=replace(QUICK, look_s=60.0))
    job = backend.submit(make_request())
    first = backend.observe([job.id])
    server.jobs[job.id]["status"] = "cancelled"

    assert backend.observe([job.id]) == first
    backend.cancel(job.id)
    assert backend.observe([job.id])[job.id] == replace(first[job.id], state=JobState.CANCELLED)
