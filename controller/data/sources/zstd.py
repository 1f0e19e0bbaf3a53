"""Unpack zstd, by pyarrow: it says when the data ends too early, which others pass over."""

import io
import zlib
from typing import Any

import pyarrow as pa

_AT_ONCE = 1 << 16
"""Bytes. What comes at once is lost when the data ends early in it."""


def unzstd(file: io.RawIOBase) -> "Unzstd":
    """Return a reader of what is packed in a file."""
    return Unzstd(file)


class Unzstd:
    """A reader of what is packed in a file."""

    def __init__(self, file: io.RawIOBase) -> None:
        self._stream: Any = pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")

    def read1(self, size: int, /) -> bytes:
        """Read some bytes, at most so many.

        Raises:
            EOFError: The data ends too early.
            zlib.error: It is damaged, or asks for a window beyond 128 MiB.
        """
        try:
            data: bytes = self._stream.read(min(size, _AT_ONCE))
        except OSError as error:
            if "Truncated" in str(error):
                raise EOFError from None
            if error.errno is not None:
                raise
            raise zlib.error(str(error)) from None
        return data
