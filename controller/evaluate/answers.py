"""An answer as scored and shown: visible text, tool calls, and separate thinking. Pure.

Thinking is never scored. Calls are compared by their names and parsed arguments, in any order of
keys. The calls of one answer are parallel, so their order does not matter either.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from backends.contract.completions import Completion, text_of
from backends.contract.inspector import Json
from controller.canonical import canonical_json

_OPEN: Final = "<think>"
_CLOSE: Final = "</think>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool call."""

    name: str
    arguments: str
    """Canonical JSON; the original text if it is not JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Parts of an assistant message that a person or a program receives."""

    text: str
    calls: tuple[Call, ...] = ()
    """Tool calls, sorted."""
    thinking: str = ""


def expected_answer(reference: Mapping[str, Json] | None) -> Answer:
    """Return the answer of a reference; an empty answer for None."""
    message = reference or {}
    calls = [one for one in _sequence(message.get("tool_calls")) if isinstance(one, Mapping)]
    if isinstance(legacy := message.get("function_call"), Mapping):
        calls.append({"type": "function", "function": legacy})
    text = text_of(message) or str(message.get("refusal") or "")
    return _answer(text, calls, _thinking_of(message))


def given_answer(completion: Completion) -> Answer:
    """Return the answer of a model."""
    return _answer(completion.text, completion.tool_calls, completion.thinking)


def agree(expected: Answer, given: Answer) -> bool:
    """Return True if an answer equals the expected answer.

    Text next to calls counts only if the expected answer has text, too.
    """
    if expected.calls != given.calls:
        return False
    text = expected.text.strip()
    return (bool(expected.calls) and not text) or text == given.text.strip()


def without_thinking(text: str) -> tuple[str, str]:
    """Return the thinking at the beginning of a text, and the rest of the text."""
    body = text.lstrip()
    if not body.startswith(_OPEN):
        return "", text
    thinking, _, rest = body.removeprefix(_OPEN).partition(_CLOSE)
    return thinking.strip(), rest.lstrip()


def shown_calls(calls: Sequence[Mapping[str, Json]]) -> str:
    """Return calls in the protocol's form as people write them: `book({"day": "Monday"})`."""
    parts = (_name_and_arguments(one) for one in calls)
    return ", ".join(
        f"{name}({given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)})"
        for name, given in parts
    )


def _answer(text: str, calls: Sequence[Mapping[str, Json]], thinking: str) -> Answer:
    within, visible = without_thinking(text)
    found = [_call(one) for one in calls]
    return Answer(
        text=visible,
        calls=tuple(sorted(found, key=lambda call: (call.name, call.arguments))),
        thinking=thinking or within,
    )


def _call(call: Mapping[str, Json]) -> Call:
    name, given = _name_and_arguments(call)
    return Call(name=name, arguments=_canonical(given))


def _name_and_arguments(call: Mapping[str, Json]) -> tuple[str, Json]:
    custom = call.get("custom")
    if isinstance(custom, Mapping):
        # The input of a custom tool is always text.
        return str(custom.get("name")), str(custom.get("input") or "")
    function = call.get("function")
    body = function if isinstance(function, Mapping) else {}
    # A call without arguments has three spellings.
    return str(body.get("name")), body.get("arguments") or "{}"


def _canonical(arguments: Json) -> str:
    try:
        parsed: Json = json.loads(arguments) if isinstance(arguments, str) else arguments
        return canonical_json(parsed).decode()
    except (ValueError, RecursionError):
        return str(arguments)


def _thinking_of(message: Mapping[str, Json]) -> str:
    keys = ("reasoning_content", "reasoning", "thinking")
    return next((text for key in keys if isinstance(text := message.get(key), str) and text), "")


def _sequence(value: Json) -> Sequence[Json]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()
