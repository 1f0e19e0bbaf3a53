"""Rows of a database or dataset as lines of JSON.

Keys stand in the columns' order. Values keep a text that does not depend on machine or driver:

- text, whole numbers, booleans, null, and what JSON, arrays and structs hold: as they are;
- a decimal with scale 0 is a whole number, any other one text with all its digits: `"12.50"`, so
  that a column of prices is text in every row;
- dates and times as ISO 8601, moments with a time zone in UTC; UUIDs as text;
- floats as the shortest number that reads back the same; NaN and infinity are refused;
- bytes and anything else are refused, with the column and what to write instead.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

from controller.data.errors import DataError
from controller.data.fetch.snapshot import SnapshotWriter
from controller.data.suggestions import join_names, quote

BATCH_BYTES = 4 << 20
"""Of JSON, about so much is fetched at once, however wide a row is."""

BATCH_ROWS = 2_000
"""More rows at once are not faster."""

_LONGEST_NUMBER = 18
"""Digits of a decimal that is written as a number: what every JSON reader keeps exactly."""


class RowWriter:
    """Writes rows of one source into a snapshot, one JSON object a line."""

    def __init__(self, columns: Sequence[str], snapshot: SnapshotWriter, *, field: str) -> None:
        """Look at the columns.

        Args:
            columns: Their names, in order.
            snapshot: Where the lines go.
            field: The key of the spec that is to blame for the columns.

        Raises:
            DataError: Two have one name.
        """
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise DataError(
                f"two columns are named {join_names(map(quote, twice))}",
                "Give each a name of its own: SELECT a.text AS question, b.text AS answer",
                field=field,
            )
        self._columns = tuple(columns)
        self._snapshot = snapshot
        self.count = 0
        self.batch = 64
        """How many rows to fetch next: as many as fill a batch."""

    def add(self, rows: Sequence[Iterable[object]]) -> None:
        """Write rows, each with as many values as there are columns.

        Raises:
            DataError: A value is nothing that JSON has; with the row's number as its line.
        """
        columns = self._columns
        lines: list[bytes] = []
        for row in rows:
            values = dict(zip(columns, row, strict=True))
            try:
                lines.append(_line(values))
            except (ValueError, TypeError, RecursionError):
                raise _refused(values, self.count + len(lines) + 1) from None
        self.count += len(lines)
        if not lines:
            return
        content = b"".join(lines)
        self._snapshot.write(content)
        fitting = BATCH_BYTES * len(lines) // len(content)
        # Twice as many at most: one short row says little about the next.
        self.batch = max(1, min(BATCH_ROWS, fitting, 2 * self.batch))


def _plain(value: object) -> object:
    """Return what JSON has for a value that it does not know itself.

    Raises:
        TypeError: There is nothing.
    """
    match value:
        case Decimal() if value.is_finite():
            scale = value.as_tuple().exponent
            whole = isinstance(scale, int) and scale >= 0 and value.adjusted() < _LONGEST_NUMBER
            return int(value) if whole else format(value, "f")
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat()
        case date() | time():
            return value.isoformat()
        case UUID():
            return str(value)
        case _:
            raise TypeError


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain
)


def _line(value: object) -> bytes:
    return _ENCODER.encode(value).encode() + b"\n"


def _refused(row: dict[str, object], line: int) -> DataError:
    """Find the column whose value is to blame."""
    for name, value in row.items():
        try:
            _line(value)
        except (ValueError, TypeError, RecursionError):
            what, remedy = _blame(value)
            return DataError(f"column {quote(name)} holds {what}", remedy, line=line)
    return DataError("a column's name is no text", "Give every column a name.", line=line)


def _blame(value: object) -> tuple[str, str]:
    match value:
        case float() | Decimal():
            return f"{value}, which is no JSON number", "Leave such rows out, or make it null."
        case str():
            return "half of a character", "Fix the text, which is not valid Unicode."
        case bytes() | bytearray() | memoryview():
            return "bytes, not text", "Leave the column out, or turn it into text."
        case list() | dict() | tuple():
            return "an array or object with a value that JSON has not", "Leave the column out."
        case _:
            kind = type(value).__name__
            return f"a value of type {kind}", "Turn it into text: CAST(… AS text), or leave it out."
