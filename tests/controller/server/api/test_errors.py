"""Errors as the protocol has them."""

import errno

import anyio
import pytest
from starlette.requests import Request

from backends.contract.errors import (
    BackendError,
    MachineFailed,
    ModelMissing,
    PromptRefused,
    PromptTooLong,
)
from controller.server.api.errors import (
    ApiError,
    answer_error,
    as_api_error,
    missing,
    not_found,
    sentence,
    too_large,
)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ApiError(418, "tea", "short and stout"), (418, "tea", None, "invalid_request_error")),
        (ModelMissing("gone"), (404, "model_not_found", "model", "invalid_request_error")),
        (
            PromptTooLong("9 tokens"),
            (400, "context_length_exceeded", "messages", "invalid_request_error"),
        ),
        (PromptRefused("no"), (400, "invalid_prompt", "messages", "invalid_request_error")),
        (MachineFailed("no memory"), (500, "machine_failed", None, "server_error")),
        (BackendError("broken"), (500, "engine_failed", None, "server_error")),
        (ApiError(429, "busy", "wait"), (429, "busy", None, "rate_limit_error")),
        (ApiError(403, "full", "no"), (403, "full", None, "permission_error")),
        (missing("a.b"), (400, "missing_required_parameter", "a.b", "invalid_request_error")),
        (not_found("File", "f" * 999), (404, "not_found", "id", "invalid_request_error")),
        (too_large(1_000, "It"), (413, "request_too_large", None, "invalid_request_error")),
    ],
)
def test_status_code_param_and_type(error, expected):
    found = as_api_error(error)
    body = found.body()["error"]
    assert (found.status, body["code"], body["param"], body["type"]) == expected
    assert 0 < len(body["message"]) < 300
    assert body.keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("retry_after_s", "header"), [(None, None), (0.1, "1"), (-5, "1"), (1.2, "2"), (30, "30")]
)
def test_when_to_come_back(retry_after_s, header):
    error = ApiError(429, "busy", "wait", retry_after_s=retry_after_s)
    assert error.response().headers.get("retry-after") == header


@pytest.mark.parametrize(
    ("error", "status", "code", "logged"),
    [
        (OSError(errno.ENOSPC, "full"), 507, "insufficient_storage", "the disk is full"),
        (OSError(errno.EDQUOT, "full"), 507, "insufficient_storage", "the disk is full"),
        (OSError(errno.EIO, "broken"), 500, "internal_error", "broken"),
        (MachineFailed("no memory"), 500, "machine_failed", ""),
        (ValueError("secret"), 500, "internal_error", ""),
    ],
)
def test_only_what_the_operator_must_fix_is_logged(caplog, error, status, code, logged):
    request = Request({"type": "http", "method": "POST", "path": "/v1/files", "headers": []})
    answer = anyio.run(answer_error, request, error)
    assert answer.status_code == status
    assert f'"code":"{code}"'.encode() in answer.body
    assert b"secret" not in answer.body
    assert (logged in caplog.text) if logged else caplog.text == ""


@pytest.mark.parametrize(
    ("text", "ended"), [("a", "a."), ("a.", "a."), ("a?", "a?"), ("A. B", "A. B."), ("", ".")]
)
def test_a_text_ends_as_a_sentence(text, ended):
    assert sentence(text) == ended
