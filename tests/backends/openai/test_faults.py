"""For each fault at the create call and at the upload: one job where one was wanted, never two."""

from dataclasses import replace

import pytest
from fault_server import Fault, error_body
from openai_helpers import QUICK

from backends.base import BackendError, SubmissionUnknown

CREATE = ("POST", "/fine_tuning/jobs")
UPLOAD = ("POST", "/files")
LIST = ("GET", "/fine_tuning/jobs")

QUOTA = Fault("429", body=error_body("You exceeded your current quota", "insufficient_quota"))
EMPTY_ERROR = Fault("body", after=True, body={"object": "fine_tuning.job", "error": {}})
RATE = error_body("Rate limit reached", "rate_limit_exceeded")

# fault, jobs running after the first run, what it ended with
AT_CREATE = {
    "drop, not created": (Fault("drop"), 0, "unknown"),
    "drop, created": (Fault("drop", after=True), 1, "job"),
    "500, not created": (Fault("500"), 0, "unknown"),
    "500, created": (Fault("500", after=True), 1, "job"),
    "502 HTML, created": (Fault("502", after=True, headers={"content-type": "text/html"}), 1, "job"),
    "408, not created": (Fault("408"), 0, "unknown"),
    "408, created": (Fault("408", after=True), 1, "job"),
    "409, not created": (Fault("409"), 0, "unknown"),
    "409, created": (Fault("409", after=True), 1, "job"),
    "429 with Retry-After": (Fault("429", body=RATE, headers={"retry-after": "0.1"}), 1, "job"),
    "429 without Retry-After": (Fault("429", body=RATE), 1, "job"),
    "429 no quota": (QUOTA, 0, "error"),
    "HTML with 200, created": (Fault("html", after=True), 1, "job"),
    "HTML with 200, not created": (Fault("html"), 0, "unknown"),
    "no id, `error: {}`, created": (EMPTY_ERROR, 1, "job"),
    "403 training_not_available": (
        Fault("403", body=error_body("winding down", "training_not_available")), 0, "error",
    ),
    "400 model_not_available": (
        Fault("400", body=error_body("Model x is not available", "model_not_available")), 0, "error",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", AT_CREATE)
def test_a_fault_at_the_create_call(server, open_backend, make_request, fault, record_property):
    injected, running, ending = AT_CREATE[fault]
    server.put_fault(*CREATE, injected)
    request = make_request()

    first = run(open_backend(), request)

    assert (first[0], len(server.trainings)) == (ending, running)
    sent = [one for one in server.requests if one[:2] == CREATE]
    assert len(sent) == (2 if injected.kind == "429" and ending == "job" else 1)
    again = run(open_backend(), request)
    assert again[0] == "job"
    assert len(server.trainings) == 1
    record_property("row", (fault, running, ending, first[1]))


AT_UPLOAD = {
    "drop, not stored": Fault("drop"),
    "drop, stored": Fault("drop", after=True),
    "500, not stored": Fault("500"),
    "500, stored": Fault("500", after=True),
    "408, stored": Fault("408", after=True),
    "409, not stored": Fault("409"),
    "HTML with 200, stored": Fault("html", after=True),
    "no id, stored": Fault("body", after=True, body={"error": {}}),
    "429 with Retry-After": Fault("429", body=RATE, headers={"retry-after": "0.1"}),
    "429 without Retry-After": Fault("429", body=RATE),
}


@pytest.mark.parametrize("fault", AT_UPLOAD)
def test_a_fault_at_the_upload(server, open_backend, make_request, fault):
    server.put_fault(*UPLOAD, AT_UPLOAD[fault])

    assert run(open_backend(), make_request())[0] == "job"

    assert len(server.trainings) == 1
    assert len(server.files) == 2


@pytest.mark.parametrize(
    "fault", [Fault("401"), Fault("html"), Fault("body", body={"object": "list"})]
)
def test_a_list_that_cannot_be_read_creates_nothing(server, open_backend, make_request, fault):
    server.put_fault(*LIST, fault)
    request = make_request()

    assert run(open_backend(), request)[0] == "error"
    assert not server.jobs
    assert not server.files
    assert run(open_backend(), request)[0] == "job"
    assert len(server.trainings) == 1


def test_after_a_lost_answer_the_next_run_waits_for_a_lagging_list(
    server, open_backend, make_request, tmp_path
):
    server.lag = 10_000
    server.put_fault(*CREATE, Fault("drop", after=True))
    request = make_request()
    state = tmp_path / "kept"
    assert run(open_backend(state), request)[0] == "unknown"
    assert len(list((state / "openai" / "intents").iterdir())) == 1

    for job in server.jobs.values():
        job["shown_from"] = server.count + 2
    slow = replace(QUICK, window_s=30.0)

    assert run(open_backend(state, patience=slow), request)[0] == "job"
    assert len(server.jobs) == 1
    assert not list((state / "openai" / "intents").iterdir())


def test_while_the_list_cannot_be_read_nothing_is_sent_again(
    server, open_backend, make_request, tmp_path
):
    request = make_request()
    state = tmp_path / "kept"
    server.put_fault(*CREATE, Fault("drop", after=True))
    server.put_fault(*LIST, *[Fault("body", body={"data": []})] * 2, *[Fault("html")] * 100)

    ending, said = run(open_backend(state), request)
    assert (ending, len(server.jobs)) == ("unknown", 1)
    assert "the list of jobs cannot be read" in said
    assert run(open_backend(state), request)[0] == "unknown"
    assert len(server.jobs) == 1

    server.faults.clear()
    assert run(open_backend(state), request)[0] == "job"
    assert len(server.jobs) == 1


def run(backend, request):
    try:
        return "job", backend.submit(request).id
    except SubmissionUnknown as error:
        return "unknown", error.message
    except BackendError as error:
        return "error", error.message
