"""Differences between texts that a metric ignores. Pure."""

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, TypeAlias

Normalisation: TypeAlias = Literal["case", "punctuation", "blanks", "width"]
"""`case`: capital letters; `punctuation`: points, commas, quotes and the like; `blanks`: blanks and
line breaks anywhere; `width`: full-width forms, and Hangul in pieces."""


def normalised(text: str, ignored: Iterable[Normalisation]) -> str:
    """Return a text without the differences to ignore, and without blanks around it."""
    asked = set(ignored)
    for name, change in _CHANGES.items():
        if name in asked:
            text = change(text)
    return text.strip()


def _width(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _without_punctuation(text: str) -> str:
    return "".join(one for one in text if not unicodedata.category(one).startswith("P"))


def _without_blanks(text: str) -> str:
    return "".join(text.split())


_CHANGES: Final[Mapping[Normalisation, Callable[[str], str]]] = {
    # Full-width forms first, since the others look at what they stand for.
    "width": _width,
    "case": str.casefold,
    "punctuation": _without_punctuation,
    "blanks": _without_blanks,
}
