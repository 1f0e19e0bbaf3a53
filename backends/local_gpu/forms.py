"""Which form of answers a chat template has, found out by rendering one. Pure."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

from backends.base import BackendError
from backends.local_gpu.answers import AnswerReader, read_answer
from backends.local_gpu.call_forms import CALL_FORMS, Form, types_of

_THINKING: Final = (
    ("<think>", "</think>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
)
_WRAPS: Final = ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>")
_SAID: Final = "PROBE_SAID"
_NAME: Final = "probe_called"
_ARGUMENTS: Final = {"first": "probe argument", "second": 7}
PROBE_TOOL: Final[Mapping[str, Any]] = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "A probe.",
        "parameters": {
            "type": "object",
            "properties": {"first": {"type": "string"}, "second": {"type": "integer"}},
            "required": ["first"],
        },
    },
}
PROBE_CALL: Final[Mapping[str, Any]] = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "probe0001",
            "type": "function",
            "function": {"name": _NAME, "arguments": json.dumps(_ARGUMENTS)},
        }
    ],
}
_ASKED: Final = {"role": "user", "content": "PROBE_ASKED"}


Answering: TypeAlias = Callable[[Mapping[str, Any]], tuple[str, str]]
"""Renders a conversation; see `form_of`."""


def form_of(source: str, answer: Answering) -> Form:
    """Return how a model writes its answers.

    Args:
        source: Its chat template.
        answer: Renders a conversation, and returns what the prompt says of the last answer's
            turn and what the model is to write; raises `BackendError` where it cannot.
    """
    if "<|channel|>" in source and "<|message|>" in source:
        return Form(channels=True)
    thinking = next((pair for pair in _THINKING if pair[1] in source), None)
    wraps = tuple(mark for mark in _WRAPS if mark in source)
    before, end = _around(answer)
    plain = Form(thinking=thinking, wraps=wraps, blank="" if before.strip() else before)
    call = next((one for one in CALL_FORMS if _reads(replace(plain, call=one), end, answer)), None)
    return replace(plain, call=call)


def _around(answer: Answering) -> tuple[str, str]:
    """Return what is learnt before and behind the text of an answer."""
    try:
        _, text = answer({"messages": [_ASKED, {"role": "assistant", "content": _SAID}]})
    except BackendError:
        return "", ""
    before, _, end = text.partition(_SAID)
    return before, end


def _reads(form: Form, end: str, answer: Answering) -> bool:
    """Say whether a form reads a call as the template writes it."""
    try:
        opening, text = answer({"messages": [_ASKED, PROBE_CALL], "tools": [PROBE_TOOL]})
    except BackendError:
        return False
    reader = AnswerReader(form=form, types=types_of([PROBE_TOOL]), offered=True, opening=opening)
    read = read_answer(reader, text.removesuffix(end))
    called = [one["function"] for one in read.calls]
    wanted = [{"name": _NAME, "arguments": json.dumps(_ARGUMENTS)}]
    return called == wanted and _NAME not in read.text
