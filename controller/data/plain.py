"""The common case at once: a conversation of plain messages that needs no change. Pure.

What `shapes`, `prepare.normalise`, `prepare.check` and `example.spell` do one after the other for
every example, done in a few compiled steps where all of them have nothing to do; most of a large
dataset is like that, and goes through here several times as fast. msgspec reads a line into these
types, checks it against them, and spells them as `example.spell` does. Tests hold both ways
against each other.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from unicodedata import is_normalized

from msgspec import UNSET, Struct, UnsetType, convert, field
from msgspec.json import Decoder, Encoder

from backends.base import Json
from controller.data.example import Spelt
from controller.data.sharegpt import ROLES
from controller.spec.data import Shape

PLAIN_SHAPES = (None, "chat", "sharegpt")
"""The shapes that `spell_line` reads; None is whichever a row has."""


class _Turn(Struct, forbid_unknown_fields=True, gc=False):
    """A message. The keys are in canonical order."""

    content: str
    role: str


class _Said(Struct, forbid_unknown_fields=True, gc=False):
    """A message of ShareGPT's."""

    value: str
    speaker: str = field(name="from")


class _Row(Struct, forbid_unknown_fields=True, gc=False):
    """A conversation in either shape. What is not there is not spelt."""

    messages: list[_Turn] | UnsetType = UNSET
    conversations: list[_Said] | UnsetType = UNSET


_OPENING = len(b'{"messages":[')
_NEXT = b',{"content":'
"""Before every message but the first, and in no text: there, quotes are escaped."""

_TALK = re.compile("(system )?user ((user|assistant) )*assistant ")

_decode = Decoder(_Row).decode
_encode = Encoder().encode


def spell_line(line: bytes, shape: Shape | None = None) -> Spelt | None:
    """Return what `example.spell` makes of a line of JSONL that is plain, normal and learnable.

    None where any of that is in doubt: then the long way says what is the matter.

    Args:
        line: In UTF-8.
        shape: One of `PLAIN_SHAPES`.
    """
    try:
        row = _decode(line)
    except ValueError:
        return None
    if row.conversations is UNSET:
        return None if shape == "sharegpt" else _spelt(row)
    if shape == "chat" or row.messages is not UNSET:
        return None
    turns = [_Turn(said.value, ROLES.get(said.speaker, "")) for said in row.conversations]
    return _spelt(_Row(turns))


def spell_plain(row: Mapping[str, Json]) -> Spelt | None:
    """Return the same for a row in OpenAI's form that was read already."""
    try:
        return _spelt(convert(row, _Row))
    except ValueError:
        return None


def _spelt(row: _Row) -> Spelt | None:
    turns = row.messages
    if not turns or row.conversations is not UNSET:
        return None
    speakers = ""
    for turn in turns:
        text = turn.content
        if not text or text.isspace() or "\r" in text:
            return None
        if not text.isascii() and not is_normalized("NFC", text):
            return None
        speakers += turn.role + " "
    if not _is_talk(speakers):
        return None
    try:
        line = _encode(row)
    except ValueError:
        # Half of a surrogate pair.
        return None
    first = line.index(_NEXT) + 1 if turns[0].role == "system" else _OPENING
    return line + b"\n", line[first : line.rindex(_NEXT)]


@lru_cache(maxsize=1000)
def _is_talk(speakers: str) -> bool:
    """Say whether these follow one another as in a conversation that can be learnt from."""
    return _TALK.fullmatch(speakers) is not None
