"""Unpack zstd, by pyarrow: it says when the data ends too early, which others pass over."""

import zlib
from typing import Any

import pyarrow as pa

from controller.data.packed import Hashed

_AT_ONCE = 1 << 16
"""Bytes. What comes at once is lost when the data ends early in it."""


def unzstd(file: Hashed) -> "Unzstd":
    """Return a reader of what is packed in a file."""
    return Unzstd(file)


class Unzstd:
    """A reader of what is packed in a file."""

    def __init__(self, file: Hashed) -> None:
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
