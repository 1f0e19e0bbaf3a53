"""Faults at the create call and at the upload, and what a submission must make of each."""

from dataclasses import dataclass

from backends.contract.errors import BackendError, SubmissionUnknown
from tests.backends.openai.servers.emulator import error_body
from tests.backends.openai.servers.fault_server import Fault

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
        sent = sum(server.place(*one[:2]) == CREATE for one in server.requests)
        runs.append(Run(ending, said, len(server.trainings), sent, len(server.files)))
    return runs


def run(backend, request):
    try:
        return "job", backend.submit(request).id
    except SubmissionUnknown as error:
        return "unknown", error.message
    except BackendError as error:
        return "error", error.message
