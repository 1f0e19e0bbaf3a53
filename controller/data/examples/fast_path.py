"""The common case at once: a conversation of plain messages that needs no change. Pure.

What `shapes`, `prepare.normalise`, `prepare.check` and `example.to_canonical` do one after the other for
every example, done in one loop over its turns where all of them have nothing to do; most of a large
dataset is like that, and goes through here several times as fast. msgspec reads a line into these
types and checks it against them, and spells texts as `example.to_canonical` does. Tests hold both ways
against each other.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from re import compile as pattern
from unicodedata import is_normalized

from msgspec import UNSET, Struct, UnsetType, convert, field
from msgspec.json import Decoder, Encoder

from backends.contract.inspector import Json
from controller.data.examples import sharegpt
from controller.data.examples.example import ROLE_AND_CONTENT, CanonicalExample, Example
from controller.spec.data import Shape

PLAIN_SHAPES = (None, "chat", "sharegpt")
"""The shapes that `spell_line` reads; None is whichever a row has."""


class _Turn(Struct, forbid_unknown_fields=True, gc=False):
    """A message in OpenAI's form."""

    content: str
    role: str


class _Said(Struct, forbid_unknown_fields=True, gc=False):
    """A message in ShareGPT's form."""

    content: str = field(name="value")
    role: str = field(name="from")


class _Row(Struct, forbid_unknown_fields=True, gc=False):
    """A conversation in either shape."""

    messages: list[_Turn] | UnsetType = UNSET
    conversations: list[_Said] | UnsetType = UNSET


_OPENAI = {role: b',"role":"%b"}' % role.encode() for role in ("system", "user", "assistant")}
_SHAREGPT = {name: _OPENAI[role] for name, role in sharegpt.ROLES.items() if role in _OPENAI}
"""How the spelling of a message ends, by who speaks."""

_LEARNABLE = pattern(b"(,system)?,user(,(user|assistant))*,assistant")

_decode = Decoder(_Row).decode
_encode = Encoder().encode


def canonical_line(line: bytes, shape: Shape | None = None) -> CanonicalExample | None:
    """Return what `example.to_canonical` makes of a line of JSONL that is plain, normal and learnable.

    None where any of that is in doubt: then the long way says what is the matter.

    Args:
        line: In UTF-8.
        shape: One of `PLAIN_SHAPES`.
    """
    try:
        row = _decode(line)
    except ValueError:
        return None
    return _spelt(row, shape)


def canonical_line_of(row: Mapping[str, Json]) -> CanonicalExample | None:
    """Return the same for a row in OpenAI's form that was read already."""
    try:
        return _spelt(convert(row, _Row), "chat")
    except ValueError:
        return None


def canonical_line_of_example(example: Example) -> CanonicalExample | None:
    """Return the canonical line and question of an example of supervised training."""
    messages = example.messages
    if example.tools is not None or example.options is not None:
        return None
    # The last message tells most other examples apart, and an exception is slower than this.
    if not messages or len(messages[-1]) != ROLE_AND_CONTENT:
        return None
    return canonical_line_of({"messages": messages})


def _spelt(row: _Row, shape: Shape | None) -> CanonicalExample | None:
    turns: Sequence[_Turn | _Said]
    if row.conversations is UNSET and row.messages is not UNSET and shape != "sharegpt":
        turns, ends = row.messages, _OPENAI
    elif row.messages is UNSET and row.conversations is not UNSET and shape != "chat":
        turns, ends = row.conversations, _SHAREGPT
    else:
        return None
    spelt: list[bytes] = []
    speakers = b""
    try:
        for turn in turns:
            text = turn.content
            if not text or text.isspace() or "\r" in text:
                return None
            if not text.isascii() and not is_normalized("NFC", text):
                return None
            end = ends[turn.role]
            spelt.append(b'{"content":' + _encode(text) + end)
            speakers += end
    except (KeyError, ValueError):
        # Somebody else speaks, or half of a surrogate pair.
        return None
    first = _first_asked(speakers)
    if first is None:
        return None
    return b'{"messages":[' + b",".join(spelt) + b"]}\n", b",".join(spelt[first:-1])


@lru_cache(maxsize=1000)
def _first_asked(speakers: bytes) -> int | None:
    """Return which turn begins the question; None where nothing can be learnt from these turns."""
    if not _LEARNABLE.fullmatch(speakers.replace(b'"role":"', b"").replace(b'"}', b"")):
        return None
    return int(speakers.startswith(_OPENAI["system"]))
