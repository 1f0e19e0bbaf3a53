"""What a person reads for each thing a server may say."""

from collections.abc import Mapping

import pytest

from backends.contract.errors import BackendError
from backends.openai.api.error_messages import job_error, to_backend_error
from backends.openai.api.protocol import OutcomeUnknown, Rejected, clean

SERVER = "default (https://api.openai.com/v1)"
SAID = {
    "training_not_available": Rejected(
        403, "Your organization can no longer create jobs.", code="training_not_available"
    ),
    "model_not_available": Rejected(
        400,
        "Model gpt-4o-mini is not available for fine-tuning or does not exist.",
        code="model_not_available",
    ),
    "quota": Rejected(429, "You exceeded your current quota.", code="insufficient_quota"),
    "rate limit": Rejected(429, "Rate limit reached.", code="rate_limit_exceeded"),
    "429 without code": Rejected(429, "Slow down."),
    "missing scopes": Rejected(
        403, "You have insufficient permissions. Missing scopes: api.fine_tuning.jobs.write."
    ),
    "wrong key": Rejected(401, "Incorrect API key provided: sk-a***b.", code="invalid_api_key"),
    "forbidden": Rejected(403, "Not allowed."),
    "not found": Rejected(404, "No such File object: file-1"),
    "wrong address": Rejected(404, "<h1>Not Found</h1>", is_api_error=False),
    "too large": Rejected(413, "File is too large."),
    "bad request": Rejected(400, "Invalid value: seed.", param="seed"),
    "unreachable": OutcomeUnknown("Connection error. (ConnectError)", sent=False),
    "HTML": OutcomeUnknown("the answer is not JSON: <!DOCTYPE html>"),
    "500": OutcomeUnknown("HTTP 500: The server had an error."),
}
ORIGINS = [f"data/cafe.csv:{line}" for line in range(2, 30)]
FAILED: Mapping[str, Mapping[str, object]] = {
    "format": {
        "code": "invalid_training_file",
        "message": "Invalid file format. Example 3, message 2 Discriminator 'role' is missing",
        "param": "training_file",
    },
    "moderation": {
        "code": "invalid_training_file",
        "message": "This file failed moderation safety checks. Flagged lines: 4, 13, 999",
        "param": None,
    },
    "too few": {
        "code": "invalid_n_examples",
        "message": "Training file has 7 example(s), but must have at least 10 examples",
        "param": "training_file",
    },
    "quota": {"code": "exceeded_quota", "message": "Billing hard limit reached", "param": None},
    "terse": {"code": "server_error", "message": "", "param": None},
}


def test_refusals_and_silences_read_well(golden):
    texts = []
    for name, error in SAID.items():
        said = to_backend_error(error, SERVER)
        texts.append(f"[{name}]\n{said.message}\n    {said.remedy}\n")

    golden("openai/refusals.txt", "\n".join(texts))


def test_failed_jobs_read_well(golden):
    texts = [
        f"[{name}]\n{job_error({'error': error}, ORIGINS)}\n" for name, error in FAILED.items()
    ]

    golden("openai/failed-jobs.txt", "\n".join(texts))


def test_source_lines_need_origins():
    said = job_error({"error": FAILED["moderation"]})

    assert "csv" not in said


@pytest.mark.parametrize("said", ["a\x1b[31mb\nc", "x" * 9999, "key sk-1 here"])
def test_a_servers_text_is_made_harmless(said):
    shown = clean(said, "sk-1")

    assert shown.isprintable()
    assert len(shown) <= 501
    assert "sk-1" not in shown


def test_an_unknown_submission_says_what_to_do(server, backend, make_request, golden):
    from tests.backends.openai.servers.fault_server import Fault  # noqa: PLC0415

    server.put_fault("POST", "/fine_tuning/jobs", Fault("500"))
    with pytest.raises(BackendError) as caught:
        backend.submit(make_request())

    text = f"{caught.value.message}\n    {caught.value.remedy}\n"
    golden("openai/submission-unknown.txt", text.replace(server.url, "http://127.0.0.1:8000/v1"))
