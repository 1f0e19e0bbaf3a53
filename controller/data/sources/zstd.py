"""Decompress zstd by pyarrow, which reports data that ends too early; other packages do not."""

import io
import zlib
from typing import Any

import pyarrow as pa

_MAX_READ = 1 << 16
"""Bytes of a read. Data that ends too early loses what the last read would have returned."""


class ZstdReader:
    """Reads decompressed bytes of a file."""

    def __init__(self, file: io.RawIOBase) -> None:
        self._stream: Any = pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")

    def read1(self, size: int, /) -> bytes:
        """Read at most `size` bytes.

        Raises:
            EOFError: The data ends too early.
            zlib.error: It is damaged, or needs a window beyond 128 MiB.
        """
        try:
            data: bytes = self._stream.read(min(size, _MAX_READ))
        except OSError as error:
            if "Truncated" in str(error):
                raise EOFError from None
            if error.errno is not None:
                raise
            raise zlib.error(str(error)) from None
        return data
