"""Rows of a database or dataset as lines of JSON; see `json_values` for the forms of values.

Keys are in the columns' order. Floats are the shortest number that reads back the same. NaN,
infinity and values without a form are refused, with the column and what to write instead.
"""

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal

from controller.data.errors import DataError
from controller.data.fetch.snapshot import SnapshotWriter
from controller.data.readers.json_values import json_form
from controller.data.suggestions import join_names, quote

BATCH_BYTES = 4 << 20
"""Approximate bytes of JSON to fetch at once, however wide a row is."""

BATCH_ROWS = 2_000
"""Maximum number of rows to fetch at once; more are not faster."""

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=json_form
).encode


class RowWriter:
    """Writes rows of one source into a snapshot, one JSON object per line."""

    def __init__(self, columns: Sequence[str], snapshot: SnapshotWriter, *, field: str) -> None:
        """Check the columns.

        Args:
            columns: Their names, in order.
            snapshot: Receives the lines.
            field: Key of the spec that chooses the columns.
        """
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise DataError(
                f"two columns are named {join_names(map(quote, twice))}",
                "Give each its own name: SELECT a.text AS question, b.text AS answer",
                field=field,
            )
        self._columns = tuple(columns)
        self._snapshot = snapshot
        self.count = 0
        self.batch = 64
        """Number of rows to fetch next: as many as fill a batch."""

    def add(self, rows: Sequence[Iterable[object]]) -> None:
        """Write rows, each with as many values as there are columns."""
        lines: list[bytes] = []
        for row in rows:
            values = dict(zip(self._columns, row, strict=True))
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
        # At most twice as many: one short row says little about the next.
        self.batch = max(1, min(BATCH_ROWS, fitting, 2 * self.batch))


def _line(value: object) -> bytes:
    return _encode(value).encode() + b"\n"


def _refused(row: dict[str, object], line: int) -> DataError:
    """Return the error for the first column whose value has no form."""
    for name, value in row.items():
        try:
            _line(value)
        except (ValueError, TypeError, RecursionError):
            what, remedy = _reason(value)
            return DataError(f"column {quote(name)} holds {what}", remedy, line=line)
    return DataError("a column's name is not text", "Give every column a name.", line=line)


def _reason(value: object) -> tuple[str, str]:
    match value:
        case float() | Decimal():
            return (
                f"{value}, which is not a JSON number",
                "Leave such rows out, or make it null.",
            )
        case str():
            return "half of a character", "Correct the text; it is not valid Unicode."
        case list() | dict() | tuple():
            return (
                "an array or object with a value that JSON does not have",
                "Leave the column out.",
            )
        case _:
            kind = type(value).__name__
            return f"a value of type {kind}", "Turn it into text: CAST(… AS text), or leave it out."
