"""Messages as templates expect them: content is text, arguments are objects, thinking is apart."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from backends.contract.errors import BackendError

Conversation = Mapping[str, Any]
"""One example: `messages`, and `tools` if it has any."""

REASONING: Final = ("reasoning_content", "thinking", "reasoning")
"""Names that templates use for the thinking before an answer."""
_ROLE_AND_CONTENT: Final = 2


def written_out(conversation: Conversation, *, recipe: int = 2) -> list[dict[str, Any]]:
    """Return messages with content as text and arguments as objects.

    Recipe 1 passed keys without a value to the template, which may treat them as set.
    """
    return [_message(message, recipe) for message in conversation["messages"]]


def plain_conversation(conversation: Conversation) -> dict[str, Any]:
    """Return a conversation with its messages as templates expect them."""
    return {**conversation, "messages": written_out(conversation)}


def thought(message: Mapping[str, Any]) -> str:
    """Return the thinking before a message, under any of its names."""
    found = (message.get(key) for key in REASONING)
    return next((text for text in found if isinstance(text, str) and text.strip()), "")


def with_thought(message: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return a message with its thinking under every known name; without these names if empty."""
    plain = {key: value for key, value in message.items() if key not in REASONING}
    return {**plain, **dict.fromkeys(REASONING, text)} if text else plain


def split_thought(content: str, marks: tuple[str, str]) -> tuple[str, str] | None:
    """Split a block of thinking off the beginning of a text; None if the text has no block."""
    opens, closes = marks
    if closes not in content:
        return None
    start = content.lstrip()
    if not start.startswith(opens.strip()):
        return None
    inside, _, said = start.removeprefix(opens.strip()).partition(closes)
    return inside.strip(), said.lstrip("\n")


def _message(message: dict[str, Any], recipe: int) -> dict[str, Any]:
    if len(message) == _ROLE_AND_CONTENT and type(message.get("content")) is str:
        return message
    plain = {
        key: value
        for key, value in message.items()
        if key != "weight" and (recipe == 1 or value not in (None, []))
    }
    content = message.get("content") or ""
    plain["content"] = content if isinstance(content, str) else "".join(_parts(content))
    if message.get("tool_calls"):
        plain["tool_calls"] = [_call(call) for call in message["tool_calls"]]
    return plain


def _parts(content: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for part in content:
        if part.get("type") != "text":
            raise BackendError(
                f"a message contains a part of type {part.get('type')!r}; only text is read here",
                "Remove the part, or train at a service that reads it.",
            )
        yield part["text"]


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call["function"])
    if isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"])
        except ValueError as error:
            raise BackendError(f"the arguments of a tool call are not JSON: {error}") from error
    return {**call, "function": function}
