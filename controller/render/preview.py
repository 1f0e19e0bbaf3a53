"""Examples as the model sees them, with what it learns marked; as text and as JSON."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from backends.contract.inspector import Json, Piece
from controller.render.data import SPLIT_WORDS
from controller.render.text import escape_control
from controller.spec.data import SplitName

OPENING, CLOSING = "⟦", "⟧"
"""Marks around what the model learns, if there is no colour."""

_ESCAPED = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in OPENING + CLOSING})


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewExample:
    """One example as its model sees it."""

    split: SplitName
    number: int
    """Number from 1."""
    origin: str
    line: bytes
    """Its canonical line."""
    tokens: int
    pieces: Sequence[Piece]


def bracketed(text: str) -> str:
    """Mark a text without colour."""
    return f"{OPENING}{text}{CLOSING}"


def preview_text(example: PreviewExample, mark: Callable[[str], str] = bracketed) -> str:
    """Return an example as the model sees it.

    Args:
        example: The example.
        mark: Marks what the model learns: in colour, or by brackets.
    """
    tokens = f"{example.tokens:,} token{'s'[: example.tokens != 1]}"
    split = SPLIT_WORDS[example.split]
    head = f"# {split} {example.number:,}, {escape_control(example.origin)}, {tokens}"
    # Brackets in the data are written as escapes, so that none passes for ours.
    texts = (
        (trained, escape_control("".join(piece.text for piece in pieces)).translate(_ESCAPED))
        for trained, pieces in groupby(example.pieces, key=lambda piece: piece.trained)
    )
    body = "".join(mark(text) if trained else text for trained, text in texts).removesuffix("\n")
    return f"{head}\n{body}"


def preview_json(example: PreviewExample) -> Json:
    """Return an example as the model sees it, for programs."""
    return {
        "part": example.split,
        "number": example.number,
        "origin": example.origin,
        "tokens": example.tokens,
        "example": json.loads(example.line),
        "pieces": [{"text": piece.text, "trained": piece.trained} for piece in example.pieces],
    }
