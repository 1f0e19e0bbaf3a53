"""What is handed to a worker at once: a stretch of a file's lines, or some rows.

In: a source's file. Out: batches in the file's order. Lines of uncompressed UTF-8 JSONL are parted
here and parsed by the workers, which is most of the work; everything else is parsed here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from controller.data.files import CHUNK, Row, SourceFile
from controller.data.look import changed_since
from controller.data.readers import read_rows
from controller.data.unusable import Unusable
from controller.spec.where import parse_where

ROWS = 1_000
"""Rows handed over at once: enough that the handing over does not count."""

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Whole lines of a JSONL file."""

    first: int
    """Number of the first one."""
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows that were read already."""

    rows: list[Row]


Batch: TypeAlias = Lines | Rows


def read_batches(file: SourceFile) -> Iterator[Batch]:
    """Yield what a source has, up to its limit, in the file's order."""
    source = file.source
    if file.is_plain_jsonl and source.limit is None:
        yield from _read_lines(file)
        return
    rows = read_rows(file)
    if source.limit is not None:
        rows = _limited(rows, file, source.limit)
    while some := list(islice(rows, ROWS)):
        yield Rows(rows=some)


def _limited(rows: Iterator[Row], file: SourceFile, limit: int) -> Iterator[Row]:
    conditions = [parse_where(text) for text in file.source.where]

    def counts(row: Row) -> bool:
        # A row that cannot be read counts too, so that a broken file ends.
        return isinstance(row[1], Unusable) or all(
            condition.holds(row[1].get(condition.column)) for condition in conditions
        )

    line = 1
    for line, row in islice(filter(counts, rows), limit):
        yield line, row
    # The rest is not read, so that it was not compared with what was looked at.
    if (problem := changed_since(file)) is not None:
        yield line, problem


def _read_lines(file: SourceFile) -> Iterator[Batch]:
    line, rest = 1, b""
    with file.path.open("rb", buffering=0) as opened:
        while chunk := opened.read(CHUNK):
            if line == 1 and not rest:
                chunk = chunk.removeprefix(_BOM)
            whole, end, after = chunk.rpartition(b"\n")
            if end:
                data = rest + whole
                yield Lines(first=line, data=data)
                line += data.count(b"\n") + 1
                rest = after
            else:
                rest += chunk
                if len(rest) > file.MAX_ROW:
                    yield Rows(rows=[(line, file.too_long())])
                    return
    if rest:
        yield Lines(first=line, data=rest)
    if (problem := changed_since(file)) is not None:
        yield Rows(rows=[(line, problem)])
