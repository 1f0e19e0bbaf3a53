"""Any error that a person can fix, as the protocol has it."""

import asyncio
import json

import pytest

from backends.contract.errors import (
    BackendError,
    MachineFailed,
    ModelMissing,
    PromptRefused,
    PromptTooLong,
)
from controller.data.errors import DataError
from controller.errors import FtctlError, InvalidInput, LockHeld, Problem
from controller.server.api.errors import answer_error, as_api_error, invalid, not_found


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (ModelMissing("it is gone"), 404, "model_not_found", "The model does not exist: it is gone"),
        (PromptTooLong("9 tokens", "Shorten it."), 400, "context_length_exceeded", "9 tokens. Shorten it."),
        (PromptRefused("no", "Ask anew."), 400, "invalid_prompt", "no. Ask anew."),
        (MachineFailed("disk full"), 500, "machine_failed", "disk full"),
        (BackendError("broken", "Fix it."), 500, "engine_failed", "broken. Fix it."),
        (LockHeld("busy"), 500, "engine_failed", "busy"),
        (DataError("a row is odd", line=3), 500, "engine_failed", "a row is odd"),
        (
            InvalidInput([Problem(file="ftctl.yaml", line=2, message="is odd", remedy="Fix it.")]),
            500,
            "engine_failed",
            "ftctl.yaml:2: is odd. Fix it.",
        ),
        (not_found("file", "f-1"), 404, "not_found", "No such file: f-1"),
        (invalid("Odd.", "n", "odd"), 400, "odd", "Odd."),
    ],
)  # fmt: skip
def test_the_protocol_has_an_answer_for_every_error_of_the_family(error, status, code, message):
    found = as_api_error(error)
    assert (found.status, found.code, found.message) == (status, code, message)
    assert isinstance(found, FtctlError)
    answer = asyncio.run(answer_error(None, error))
    assert answer.status_code == status
    assert json.loads(answer.body)["error"]["message"] == message


def test_what_is_not_in_the_family_says_nothing_of_itself():
    answer = asyncio.run(answer_error(None, ZeroDivisionError("secret")))
    assert answer.status_code == 500
    assert b"secret" not in answer.body
