"""IDs by which sheets name answers, without saying whose they are. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

from backends.contract.completions import Completion
from controller.canonical import digest
from controller.evaluate.answers import Answer, given_answer

_DIGITS: Final = 16
ANSWER_ID: Final = re.compile(rf"a[0-9a-f]{{{_DIGITS}}}")


def answer_id(example_id: str, answer: Answer) -> str:
    """Return the ID of an answer to an example: equal answers to equal examples have equal IDs.

    It begins with a letter, since spreadsheets turn some hex digits alone into numbers.
    """
    calls = [[call.name, call.arguments] for call in answer.calls]
    return f"a{digest([example_id, answer.text, calls])[:_DIGITS]}"


def kept_answer(line: Mapping[str, Any], role: str) -> Answer:
    """Return a model's answer from a line of an evaluation's file."""
    calls = line.get("calls", {}).get(role, [])
    completion = Completion(text="", finish_reason="stop", tool_calls=calls)
    return Answer(text=line["answers"][role], calls=given_answer(completion).calls)


def answer_ids(line: Mapping[str, Any]) -> dict[str, str]:
    """Return the IDs of all answers in a line of an evaluation's file, by role."""
    return {role: answer_id(line["id"], kept_answer(line, role)) for role in line["answers"]}
