"""The common case in one loop: a conversation of plain messages that needs no change. Pure.

For such a conversation, `row_formats`, `normalise`, `validate_example` and `to_canonical` have
nothing to do. Most of a large dataset is like that, and is handled here several times as fast:
msgspec parses a line into these types, checks it, and writes texts as `to_canonical` does. Tests
compare both ways.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from unicodedata import is_normalized

from msgspec import UNSET, Struct, UnsetType, convert, field
from msgspec.json import Decoder, Encoder

from backends.contract.inspector import Json
from controller.data.examples import sharegpt
from controller.data.examples.example import ROLE_AND_CONTENT, CanonicalExample, Example
from controller.data.examples.validate_example import PLAIN_CONVERSATION
from controller.spec.data import Shape

PLAIN_SHAPES = (None, "chat", "sharegpt")
"""Shapes that `canonical_line` reads; None is either of them."""


class _OpenAiMessage(Struct, forbid_unknown_fields=True, gc=False):
    content: str
    role: str


class _ShareGptMessage(Struct, forbid_unknown_fields=True, gc=False):
    content: str = field(name="value")
    role: str = field(name="from")


class _Row(Struct, forbid_unknown_fields=True, gc=False):
    messages: list[_OpenAiMessage] | UnsetType = UNSET
    conversations: list[_ShareGptMessage] | UnsetType = UNSET


_OPENAI = {role: b',"role":"%b"}' % role.encode() for role in ("system", "user", "assistant")}
_SHAREGPT = {name: _OPENAI[role] for name, role in sharegpt.ROLES.items() if role in _OPENAI}
"""End of a message's canonical JSON, by speaker."""

_decode = Decoder(_Row).decode
_encode = Encoder().encode


def canonical_line(line: bytes, shape: Shape | None = None) -> CanonicalExample | None:
    """Return the canonical form of a line of UTF-8 JSONL that is plain, normal and valid.

    None if any of that is in doubt: then the slow way finds the reason.
    """
    try:
        row = _decode(line)
    except ValueError:
        return None
    return _canonical(row, shape)


def canonical_line_of(row: Mapping[str, Json]) -> CanonicalExample | None:
    """Return the same for a parsed row in OpenAI's form."""
    try:
        return _canonical(convert(row, _Row), "chat")
    except ValueError:
        return None


def canonical_line_of_example(example: Example) -> CanonicalExample | None:
    """Return the same for an example of supervised training."""
    messages = example.messages
    if example.tools is not None or example.options is not None:
        return None
    # The last message shows most other examples, and an exception is slower than this check.
    if not messages or len(messages[-1]) != ROLE_AND_CONTENT:
        return None
    return canonical_line_of({"messages": messages})


def _canonical(row: _Row, shape: Shape | None) -> CanonicalExample | None:
    messages: Sequence[_OpenAiMessage | _ShareGptMessage]
    if row.conversations is UNSET and row.messages is not UNSET and shape != "sharegpt":
        messages, ends = row.messages, _OPENAI
    elif row.messages is UNSET and row.conversations is not UNSET and shape != "chat":
        messages, ends = row.conversations, _SHAREGPT
    else:
        return None
    parts: list[bytes] = []
    roles = b""
    try:
        for message in messages:
            text = message.content
            if not text or text.isspace() or "\r" in text:
                return None
            if not text.isascii() and not is_normalized("NFC", text):
                return None
            end = ends[message.role]
            parts.append(b'{"content":' + _encode(text) + end)
            roles += end
    except (KeyError, ValueError):
        # Another speaker, or half of a surrogate pair.
        return None
    first = _first_of_question(roles)
    if first is None:
        return None
    return b'{"messages":[' + b",".join(parts) + b"]}\n", b",".join(parts[first:-1])


@lru_cache(maxsize=1000)
def _first_of_question(roles: bytes) -> int | None:
    """Return the number of the question's first message; None if the conversation is not valid."""
    if not PLAIN_CONVERSATION.fullmatch(roles.replace(b'"role":"', b"").replace(b'"}', b"")):
        return None
    return int(roles.startswith(_OPENAI["system"]))
