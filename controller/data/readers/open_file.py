"""Open a source's file for a reader: decompressed, decoded, and with bounded lines."""

import io
from collections.abc import Iterator
from functools import partial
from typing import TextIO

from controller.data.sources.compression import HashingReader, decompressed
from controller.data.sources.source_file import SourceFile


def open_bytes(file: SourceFile) -> io.BufferedReader:
    """Return the decompressed bytes of a file.

    Reading raises a `DataError` at damaged data, and at the end of a file that has changed.
    """
    return decompressed(HashingReader(file.path, file.info.sha256), file.info.compression)


def open_text(file: SourceFile, newline: str | None = None) -> TextIO:
    """Return the text of a file; `newline` is that of `open`."""
    return io.TextIOWrapper(open_bytes(file), encoding=file.info.encoding, newline=newline)


def bounded_lines(text: TextIO, file: SourceFile) -> Iterator[str]:
    """Yield the lines of a text."""
    longest = file.MAX_ROW
    for number, line in enumerate(iter(partial(text.readline, longest), ""), start=1):
        if len(line) == longest and line[-1] not in "\r\n":
            error = file.too_long()
            error.line = number
            raise error
        yield line
