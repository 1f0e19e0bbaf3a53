"""Rows of Arrow tables, as datasets keep and hand them out."""

from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from controller.data.errors import DataError
from controller.data.fetch.row_writer import BATCH_BYTES, BATCH_ROWS, RowWriter
from controller.data.fetch.snapshot import SnapshotWriter

Table: TypeAlias = Any
"""Pyarrow has no types: a `Table` or a `RecordBatch`."""


class TableWriter:
    """Writes the rows of one source's tables into a snapshot."""

    def __init__(self, snapshot: SnapshotWriter, *, field: str) -> None:
        self._snapshot = snapshot
        self._field = field
        self._lines: RowWriter | None = None

    @property
    def count(self) -> int:
        """Number of rows written."""
        return self._lines.count if self._lines is not None else 0

    def add(self, table: Table) -> None:
        """Write a table's rows, a few at a time, so that a large batch is not in memory twice."""
        if self._lines is None:
            self._lines = RowWriter(list(table.schema.names), self._snapshot, field=self._field)
        row_bytes = max(1, table.nbytes // max(table.num_rows, 1))
        step = max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes))
        for start in range(0, table.num_rows, step):
            some = table.slice(start, step)
            try:
                rows = some.to_pylist()
            except (pa.ArrowException, ValueError) as error:
                raise DataError(
                    f"a value cannot be read: {str(error).partition(chr(10))[0]}",
                    "Leave the column out of the dataset.",
                    line=self.count + 1,
                ) from None
            self._lines.add([row.values() for row in rows])

    def finish(self, display_path: str) -> Path:
        """Publish the snapshot."""
        if not self.count:
            remedy = "Name another split or dataset."
            raise DataError(f"{display_path} has no rows", remedy, field=self._field)
        return self._snapshot.publish(".jsonl")
