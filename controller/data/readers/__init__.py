"""Read the rows of a file, each with the line it starts on. One module per format.

In: a `SourceFile`. Out: an iterator of (line, row); an unreadable row is a `DataError` in its
place. Memory does not grow with the file. `row_formats` decides what a row means.

A new format is a new module with a `read`, and a line in `READERS`.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeAlias

from controller.data.errors import DataError
from controller.data.extras import import_extra
from controller.data.readers import csv_table, json_array, jsonl, text
from controller.data.readers.jsonl import parse_line
from controller.data.sources.compression import file_changed_error
from controller.data.sources.inspect_file import changed_since
from controller.data.sources.source_file import NumberedRow, SourceFile
from controller.spec.data import FileFormat

__all__ = ["READERS", "Read", "parse_line", "read_rows"]

Read: TypeAlias = Callable[[SourceFile], Iterator[NumberedRow]]


def _read_lazily(module: str, what: str, file: SourceFile) -> Iterator[NumberedRow]:
    """Yield a file's rows by a module that needs packages of an extra, and is imported now."""
    reader = import_extra(f"controller.data.readers.{module}", extra="data", what=f"reading {what}")
    rows: Iterator[NumberedRow] = reader.read(file)
    return rows


READERS: Mapping[FileFormat, Read] = {
    "jsonl": jsonl.read,
    "json": json_array.read,
    "csv": csv_table.read,
    "tsv": csv_table.read,
    "text": text.read,
    "markdown": text.read,
    "html": partial(_read_lazily, "html", "HTML"),
    "parquet": partial(_read_lazily, "parquet", "Parquet"),
    "excel": partial(_read_lazily, "excel", "workbooks"),
}
"""A saved dataset (`arrow`) is not a file: it is fetched, and its snapshot is read."""


def read_rows(file: SourceFile) -> Iterator[NumberedRow]:
    """Yield the rows of a file; the last one is a `DataError` if the file changed meanwhile.

    A caller that stops early must call `changed_since` itself.
    """
    line = 1
    try:
        for line, row in READERS[file.format](file):
            yield line, row
        problem = changed_since(file)
    except DataError as error:
        problem = error
    except UnicodeError:
        # All of it was decodable when it was inspected.
        problem = file_changed_error()
    except OSError as error:
        problem = DataError(f"cannot be read: {error.strerror or error}")
    if problem is not None:
        yield line if problem.line is None else problem.line, problem
