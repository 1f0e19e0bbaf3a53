"""For each fault at the create call and at the upload: one job where one was wanted, never two."""

from dataclasses import dataclass, replace

import pytest
from emulator import error_body
from fault_server import Fault
from openai_helpers import QUICK

from backends.contract.errors import BackendError, SubmissionUnknown

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


def test_each_fault_leaves_one_job_where_one_was_wanted(server, open_backend, make_request, golden):
    lines = ["fault; jobs running after the run and after the next one; what was printed", ""]
    lines.append("at the create call")
    for name, (fault, running, ending) in AT_CREATE.items():
        first, again = two_runs(server, open_backend, make_request(), CREATE, fault)
        assert (first.ending, first.running) == (ending, running), name
        assert first.sent == (2 if fault.kind == "429" and ending == "job" else 1), name
        assert (again.ending, again.running) == ("job", 1), name
        lines.append(row(name, first, again))
    lines += ["", "at the upload"]
    for name, fault in AT_UPLOAD.items():
        first, again = two_runs(server, open_backend, make_request(), UPLOAD, fault)
        assert (first.ending, first.running, first.files) == ("job", 1, 2), name
        assert (again.ending, again.running, again.files) == ("job", 1, 2), name
        lines.append(row(name, first, again))

    golden("openai/fault-table.txt", "\n".join(lines).replace(server.url, "URL"))


@dataclass(frozen=True)
class Run:
    ending: str
    said: str
    running: int
    sent: int
    files: int


def two_runs(server, open_backend, request, where, fault):
    """Submit twice, the second time on an empty disk; the fault meets the first."""
    server.jobs.clear()
    server.files.clear()
    server.put_fault(*where, fault)
    runs = []
    for _ in range(2):
        server.requests.clear()
        ending, said = run(open_backend(), request)
        sent = sum(one[:2] == CREATE for one in server.requests)
        runs.append(Run(ending, said, len(server.trainings), sent, len(server.files)))
    return runs


def row(name, first, again):
    printed = "" if first.ending == "job" else first.said
    return f"{name:28} {first.running} {again.running}  {printed}".rstrip()


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

    assert run(open_backend(state, retry_policy=slow), request)[0] == "job"
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
