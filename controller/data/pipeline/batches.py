"""Batches of rows for workers: consecutive lines of a file, or rows that were read here.

For uncompressed UTF-8 JSONL, only line ends are searched here: workers read and parse the lines,
which is most of the work. Rows of all other files are read here.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from controller.data.errors import DataError
from controller.data.pipeline.row_conditions import Conditions
from controller.data.readers import parse_line, read_rows
from controller.data.sources.inspect_file import changed_since
from controller.data.sources.source_file import CHUNK, UTF_8_MARK, NumberedRow, SourceFile

MAX_ROWS = 1_000
"""Maximum number of rows in a batch, large enough that sending it costs little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineBatch:
    """Whole lines of a JSONL file, which the worker reads from the file."""

    path: Path
    first: int
    """Number of the first line."""
    offset: int
    size: int

    def read(self) -> Iterator[bytes]:
        """Return the lines; if the file was cut off meanwhile, what is left of them."""
        with self.path.open("rb", buffering=0) as file:
            return BytesIO(os.pread(file.fileno(), self.size, self.offset))

    def rows(self) -> Iterator[NumberedRow]:
        """Return the parsed lines with their numbers, without the blank lines."""
        for line, data in enumerate(self.read(), start=self.first):
            if data and not data.isspace():
                yield line, parse_line(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBatch:
    """Rows that were read here."""

    rows: list[NumberedRow]


Batch: TypeAlias = LineBatch | RowBatch


def read_batches(file: SourceFile, limit: int | None, conditions: Conditions) -> Iterator[Batch]:
    """Yield the batches of a file, in its order."""
    if file.is_plain_jsonl and limit is None:
        yield from _read_lines(file)
        return
    rows = read_rows(file)
    if limit is not None:
        rows = _limited(rows, file, limit, conditions)
    batch: list[NumberedRow] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += _size(row[1])
        if len(batch) == MAX_ROWS or size > CHUNK:
            yield RowBatch(rows=batch)
            batch, size = [], 0
    if batch:
        yield RowBatch(rows=batch)


def _limited(
    rows: Iterator[NumberedRow], file: SourceFile, limit: int, conditions: Conditions
) -> Iterator[NumberedRow]:
    def counts(row: NumberedRow) -> bool:
        # A row that cannot be read counts too, so that a broken file ends.
        return isinstance(row[1], DataError) or conditions.meet(row[1], row[0])

    line = 1
    try:
        for line, row in islice(filter(counts, rows), limit):
            yield line, row
        # The reader compares the file only at its end, which may be far behind the limit.
        problem = changed_since(file)
    except DataError as error:
        problem = error
    if problem is not None:
        yield line, problem


def _size(value: object) -> int:
    """Return the approximate number of characters of a value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    if isinstance(value, list):
        return sum(map(_size, value))
    return 1


def _read_lines(file: SourceFile) -> Iterator[Batch]:
    """Split a file at line ends."""
    line, start, at = 1, 0, 0
    with file.path.open("rb", buffering=0) as opened:
        while chunk := opened.read(CHUNK):
            if not at and chunk.startswith(UTF_8_MARK):
                start = len(UTF_8_MARK)
            end = chunk.rfind(b"\n")
            if end >= 0:
                yield LineBatch(path=file.path, first=line, offset=start, size=at + end - start)
                line += chunk.count(b"\n")
                start = at + end + 1
            at += len(chunk)
            if at - start > file.MAX_ROW:
                yield RowBatch(rows=[(line, file.too_long())])
                return
    if at > start:
        yield LineBatch(path=file.path, first=line, offset=start, size=at - start)
    if (problem := changed_since(file)) is not None:
        yield RowBatch(rows=[(line, problem)])
