"""Open a source's file for a reader: unpacked, decoded, and never a line longer than allowed."""

import io
from collections.abc import Iterator
from functools import partial
from typing import TextIO

from controller.data.sources.compression import HashingReader, decompressed
from controller.data.sources.source_file import SourceFile


def open_bytes(source: SourceFile) -> io.BufferedReader:
    """Return the file's bytes, unpacked.

    Reading them raises an `DataError` where the packing is damaged, and at the end when the file
    was not the one looked at before.
    """
    return decompressed(HashingReader(source.path, source.info.sha256), source.info.compression)


def open_text(source: SourceFile, newline: str | None = None) -> TextIO:
    r"""Return the file's text.

    Args:
        source: The file.
        newline: As of `open`: with None every line end is read as `\n`.
    """
    return io.TextIOWrapper(open_bytes(source), encoding=source.info.encoding, newline=newline)


def bounded_lines(text: TextIO, source: SourceFile) -> Iterator[str]:
    """Yield the lines of a text.

    Raises:
        DataError: One is too long to be held.
    """
    most = source.MAX_ROW
    for number, line in enumerate(iter(partial(text.readline, most), ""), start=1):
        if len(line) == most and line[-1] not in "\r\n":
            error = source.too_long()
            error.line = number
            raise error
        yield line
