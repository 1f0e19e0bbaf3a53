"""Read the rows of a file, each with the line it starts on. One module per format.

In: a `SourceFile`. Out: an iterator of (line, row); a row that cannot be read is an `DataError` in
its place. Memory does not grow with the file. What a row means is decided in `shapes`.

Another format is another module with a `read`, and a line in `READERS`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from controller.data.errors import DataError
from controller.data.extras import import_extra
from controller.data.readers import csv_table, json_array, jsonl, text
from controller.data.readers.jsonl import parse_line
from controller.data.sources.compression import file_changed_error
from controller.data.sources.inspect_file import changed_since
from controller.data.sources.source_file import NumberedRow, SourceFile
from controller.spec.data import FileFormat

__all__ = ["READERS", "LazyReader", "NumberedRow", "Read", "parse_line", "read_rows"]

Read: TypeAlias = Callable[[SourceFile], Iterator[NumberedRow]]


@dataclass(frozen=True, slots=True)
class LazyReader:
    """A reader whose module needs packages of an extra, and is imported when it is used."""

    module: str
    what: str
    """What it does, as the message says when a package is missing."""
    extra: str = "data"

    def __call__(self, source: SourceFile) -> Iterator[NumberedRow]:
        """Yield a file's rows.

        Raises:
            DataError: A package is not installed.
        """
        rows: Iterator[NumberedRow] = import_extra(
            self.module, extra=self.extra, what=self.what
        ).read(source)
        return rows


READERS: Mapping[FileFormat, Read] = {
    "jsonl": jsonl.read,
    "json": json_array.read,
    "csv": csv_table.read,
    "tsv": csv_table.read,
    "text": text.read,
    "markdown": text.read,
    "html": LazyReader("controller.data.readers.html", "reading HTML"),
    "parquet": LazyReader("controller.data.readers.parquet", "reading Parquet"),
    "excel": LazyReader("controller.data.readers.excel", "reading workbooks"),
}
"""A saved dataset (`arrow`) is no file: it is fetched, and then read as what it became."""


def read_rows(source: SourceFile) -> Iterator[NumberedRow]:
    """Yield the rows of a file.

    Whoever wants fewer stops reading, and asks `changed_since` whether what was read can be
    believed. Read to its end, the last row is an `DataError` when the file was not the one looked
    at before.
    """
    line = 1
    try:
        for line, row in READERS[source.format](source):
            yield line, row
        problem = changed_since(source)
    except DataError as error:
        problem = error
    except UnicodeError:
        # All of it was decoded once, when it was looked at.
        problem = file_changed_error()
    except OSError as error:
        problem = DataError(f"cannot be read: {error.strerror or error}")
    if problem is not None:
        yield line if problem.line is None else problem.line, problem
