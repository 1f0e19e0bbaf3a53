"""Parts of an example that the search for near duplicates compares. Pure.

Two examples are near duplicates if their texts are nearly the same and everything else is equal:
calls and their arguments, images, tools and the values that a grader reads. One different digit in
an argument is a different answer, even in a long text.
"""

import json
from collections.abc import Iterator
from contextlib import suppress

from backends.contract.inspector import Json
from controller.canonical import canonical_json
from controller.data.examples.example import PROSE, ROLE_AND_CONTENT, Example, Message
from controller.data.recipes import FIRST, NEWEST

_APART = frozenset({"role", "content", "tool_calls", "tool_call_id", *PROSE})


def texts_of(example: Example, recipe: int = NEWEST) -> list[str]:
    """Return the texts that people wrote in an example, without system prompts."""
    if example.text is not None:
        return [example.text]
    keys = () if recipe == FIRST else PROSE
    return [text for message in _messages(example) for text in _contents(message, keys)]


def rest_of(example: Example, recipe: int = NEWEST) -> bytes:
    """Return everything else of an example, serialized; empty if it holds only texts.

    IDs of calls are left out: they are random, or numbered.
    """
    if recipe == FIRST or example.text is not None:
        return b""
    messages: list[Json] = [
        [number, rest]
        for number, message in enumerate(_messages(example))
        if (rest := _rest(message))
    ]
    marked: list[Json] = [] if example.label is None else [example.label]
    beside: dict[str, Json] = {"graded": example.graded, "options": example.options}
    beside["label"] = marked
    beside |= {"messages": messages, "tools": example.tools}
    given = {key: value for key, value in beside.items() if value}
    return canonical_json(given) if given else b""


def _messages(example: Example) -> Iterator[Message]:
    messages = [*example.messages, *([] if example.rejected is None else [example.rejected])]
    return (message for message in messages if message.get("role") not in ("system", "developer"))


def _contents(message: Message, keys: tuple[str, ...]) -> list[str]:
    content = message["content"]
    texts = [text for key in keys if isinstance(text := message.get(key), str)]
    if isinstance(content, str):
        return [*texts, content]
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return [*texts, *(text for text in parts if isinstance(text, str))]
    return texts


def _rest(message: Message) -> dict[str, Json]:
    if len(message) == ROLE_AND_CONTENT and isinstance(message["content"], str):
        return {}
    rest = {key: value for key, value in message.items() if key not in _APART}
    content = message["content"]
    if isinstance(content, list):
        rest["parts"] = [part for part in content if not _is_text(part)]
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        rest["calls"] = [_call(call) for call in calls]
    return {key: value for key, value in rest.items() if value}


def _is_text(part: Json) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


def _call(call: Json) -> Json:
    if not isinstance(call, dict) or not isinstance(function := call.get("function"), dict):
        return call
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        with suppress(ValueError, RecursionError):
            arguments = json.loads(arguments)
    return [function.get("name"), arguments]
