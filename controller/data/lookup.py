"""Look up values of a row by the names that people write: `문의`, `meta.question`. Pure.

A name is a key of the row in any Unicode composition, or a path into objects with dots. A literal
key with a dot takes precedence.
"""

import unicodedata
from collections.abc import Callable, Mapping
from itertools import chain
from typing import TypeAlias

from backends.contract.inspector import Json
from controller.spec.data import JOINED, joined_columns

Row: TypeAlias = Mapping[str, Json]
"""Values of a row, by key."""
TextOf: TypeAlias = Callable[[str], str]
Found: TypeAlias = tuple[bool, Json]
"""True if there is such a key, and its value."""

_NOT_FOUND: Found = (False, None)


def find_value(row: Row, name: str) -> Found:
    """Return the value at a name in a row."""
    found = _literal(row, name)
    if found[0] or "." not in name:
        return found
    # Try the longest key first, so that a literal key takes precedence at every step.
    for start in sorted(_starts(row, name), key=len, reverse=True):
        inner = _literal(row, start)[1]
        if isinstance(inner, dict):
            found = find_value(inner, composed(name)[len(start) + 1 :])
            if found[0]:
                return found
    return _NOT_FOUND


def leads_into(row: Row, name: str) -> bool:
    """Return True if a row has a key that a dotted name begins with, with any value."""
    return bool(_starts(row, name))


def composed(name: str) -> str:
    """Return a name in NFC, so that all spellings of it are equal."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def is_same_name(one: str, other: str) -> bool:
    """Return True if two names look the same to a reader, in any Unicode composition."""
    return one == other or composed(one) == composed(other)


def join_values(written: str, text_of: TextOf) -> str:
    """Return the text that joins several values of a row: `"{context}: {question}"`.

    A line whose values are all empty is left out, such as the optional input of an instruction.

    Args:
        written: The text with a column's name in each pair of braces.
        text_of: Returns a column's text, or raises if there is no such column.
    """
    lines = []
    for line in written.split("\n"):
        values = [text_of(name) for name in joined_columns(line)]
        if any(values) or not values:
            pieces = JOINED.split(line)[::2]
            lines.append("".join(chain.from_iterable(zip(pieces, [*values, ""], strict=True))))
    return "\n".join(lines)


def without_nulls(row: Row) -> Row:
    """Return a row without nulls in its nested objects; its own keys are columns and stay."""
    return {key: _without_nulls(value) for key, value in row.items()}


def _without_nulls(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_nulls(one) for one in value]
    return value


def _literal(row: Row, name: str) -> Found:
    if name in row:
        return True, row[name]
    if name.isascii():
        return _NOT_FOUND
    # Decomposed on one side, composed on the other: a reader sees the same letters.
    wanted = composed(name)
    for key, value in row.items():
        if composed(key) == wanted:
            return True, value
    return _NOT_FOUND


def _starts(row: Row, name: str) -> list[str]:
    whole = composed(name)
    return [key for key in map(composed, row) if whole.startswith(f"{key}.")]
