"""Open a file as a stream of decompressed bytes, and hash the file at the same time.

Problems of the compressed data are `DataError`s, raised when reading reaches them. Memory does not
grow with the file.
"""

import gzip
import io
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from typing_extensions import Buffer

from controller.data.errors import DataError
from controller.data.extras import import_extra
from controller.data.sources.source_file import CHUNK, Compression

# No text in a recognised encoding begins with either of these.
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


class HashingReader(io.RawIOBase):
    """A file that computes the digest of the bytes read from it."""

    def __init__(self, path: Path, expected: str = "") -> None:
        """Open a file.

        Args:
            path: The file.
            expected: Digest that the whole file must have; empty for any.
        """
        self._file = path.open("rb", buffering=0)
        self._sha256 = sha256()
        self._expected = expected

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Read the next bytes."""
        count = self._file.readinto(buffer)
        self._sha256.update(memoryview(buffer)[:count])
        if not count and self._expected and self.hexdigest() != self._expected:
            raise file_changed_error()
        return count

    def read_rest(self) -> None:
        """Read to the end of the file, for the digest."""
        while self.read(CHUNK):
            pass

    def hexdigest(self) -> str:
        """Return the digest of the bytes read so far."""
        return self._sha256.hexdigest()

    def close(self) -> None:
        """Close the file, if it could be opened: what `__init__` refused is closed too."""
        if file := getattr(self, "_file", None):
            file.close()
        super().close()


def file_changed_error() -> DataError:
    """Return the error for a file that changed after it was inspected."""
    return DataError("the file changed while it was read", "Run the command again.", whole=True)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with HashingReader(path) as file:
        file.read_rest()
        return file.hexdigest()


def compression_of(path: Path) -> Compression:
    """Return how a file is compressed, by its first bytes."""
    with path.open("rb") as file:
        start = file.read(len(_ZSTD))
    if start.startswith(_GZIP):
        return "gzip"
    return "zstd" if start == _ZSTD else ""


def decompressed(file: HashingReader, compression: Compression) -> io.BufferedReader:
    """Return the decompressed bytes of a file; closing them closes the file.

    Raises:
        DataError: The package for zstd is not installed.
    """
    if not compression:
        return io.BufferedReader(file, CHUNK)
    inner: _Reads
    if compression == "gzip":
        inner = gzip.GzipFile(fileobj=io.BufferedReader(file, CHUNK))
    else:
        module = import_extra("controller.data.sources.zstd", extra="data", what="reading zstd")
        inner = module.ZstdReader(file)
    return io.BufferedReader(_Decompressed(file, inner, compression), CHUNK)


class _Reads(Protocol):
    def read1(self, size: int, /) -> bytes: ...


class _Decompressed(io.RawIOBase):
    """Output of a decompressor, with its errors as ours."""

    def __init__(self, file: HashingReader, inner: _Reads, name: str) -> None:
        self._file = file
        self._inner = inner
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        try:
            data = self._inner.read1(len(view))
        except EOFError:
            raise DataError(
                f"the {self._name} data ends too early: the file was cut off",
                "Copy the whole file again.",
            ) from None
        except (gzip.BadGzipFile, zlib.error):
            raise DataError(
                f"the {self._name} data is damaged", "Copy the file again, or compress it again."
            ) from None
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
