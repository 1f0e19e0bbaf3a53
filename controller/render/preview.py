"""Examples as the model sees them, what is learnt of them set apart; as text and as JSON."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from backends.contract.inspector import Json, Piece
from controller.data.report import SplitName
from controller.render.data import PART_WORDS
from controller.render.text import escape_control

OPENING, CLOSING = "⟦", "⟧"
"""Around what is learnt, where there is no colour."""

_SPELT = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in OPENING + CLOSING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One example as its model sees it."""

    part: SplitName
    number: int
    """From 1 on."""
    origin: str
    line: bytes
    """Its canonical line."""
    tokens: int
    pieces: Sequence[Piece]


def bracketed(text: str) -> str:
    """Set a stretch apart without colour."""
    return f"{OPENING}{text}{CLOSING}"


def preview_text(seen: Seen, mark: Callable[[str], str] = bracketed) -> str:
    """Return an example as the model sees it.

    Args:
        seen: The example.
        mark: Sets apart what is learnt: in colour, or by brackets.
    """
    tokens = f"{seen.tokens:,} token{'s'[: seen.tokens != 1]}"
    part = PART_WORDS[seen.part]
    head = f"# {part} {seen.number:,}, {escape_control(seen.origin)}, {tokens}"
    # Brackets of the data's own are spelt, so that none passes for ours.
    stretches = (
        (trained, escape_control("".join(piece.text for piece in pieces)).translate(_SPELT))
        for trained, pieces in groupby(seen.pieces, key=lambda piece: piece.trained)
    )
    body = "".join(mark(text) if trained else text for trained, text in stretches).removesuffix(
        "\n"
    )
    return f"{head}\n{body}"


def preview_json(seen: Seen) -> Json:
    """Return an example as the model sees it, for programs."""
    return {
        "part": seen.part,
        "number": seen.number,
        "origin": seen.origin,
        "tokens": seen.tokens,
        "example": json.loads(seen.line),
        "pieces": [{"text": piece.text, "trained": piece.trained} for piece in seen.pieces],
    }
