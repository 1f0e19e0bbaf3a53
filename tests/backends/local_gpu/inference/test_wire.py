import json

import pytest

from backends.contract.errors import (
    BackendError,
    BaseModelMissing,
    MachineFailed,
    ModelMissing,
    PromptRefused,
    PromptTooLong,
)
from backends.local_gpu.inference.wire import describe_error, error_of, line


@pytest.mark.parametrize(
    "kind",
    [BackendError, BaseModelMissing, MachineFailed, ModelMissing, PromptRefused, PromptTooLong],
)
def test_every_error_of_a_child_process_stays_what_it_is(kind):
    described = json.loads(line(describe_error(kind("it broke", "Fix it."))))
    found = error_of(described)
    assert (type(found), found.message, found.remedy) == (kind, "it broke", "Fix it.")


def test_an_error_of_a_kind_that_is_not_known_is_still_one_that_a_person_can_fix():
    found = error_of({"kind": "ValueError", "message": "it broke", "remedy": ""})
    assert (type(found), found.message) == (BackendError, "it broke")


@pytest.mark.parametrize("text", ["카페\n", "\u2028", 'a "quote"', "\ud800"])
def test_a_message_is_one_line_whatever_it_says(text):
    written = line({"text": text})
    assert written.count(b"\n") == 1
    assert written.endswith(b"\n")
    assert json.loads(written) == {"text": text}
