"""Open a file as the bytes that are meant: unpacked from gzip or zstd, and hashed on the way.

In: a path. Out: a stream. Whatever is wrong with the packing is an `DataError`, raised when the
reading gets there. Memory does not grow with the file, packed or unpacked.
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
from controller.data.storage.background_writer import BackgroundTask

# No text in an encoding that is recognised begins with either of these.
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


class HashingReader(io.RawIOBase):
    """A file that knows the digest of what was read from it."""

    def __init__(self, path: Path, expected: str = "") -> None:
        self._file = path.open("rb", buffering=0)
        self._sha256 = sha256()
        self._hash = BackgroundTask(self._sha256.update)
        self._expected = expected

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Read the next bytes.

        Raises:
            DataError: The file ended, and was not the expected one.
        """
        count = self._file.readinto(buffer)
        self._hash(bytes(memoryview(buffer)[:count]))
        if not count and self._expected and self.hexdigest() != self._expected:
            raise file_changed_error()
        return count

    def hexdigest(self) -> str:
        """Return the digest of what was read so far: of the file, at its end."""
        self._hash.wait()
        return self._sha256.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._hash.close()
        self._file.close()
        super().close()


def file_changed_error() -> DataError:
    """Return what is said of a file that is not the one looked at any more."""
    return DataError("the file changed while it was read", "Run the command again.", whole=True)


def compression_of(path: Path) -> Compression:
    """Say how a file is packed, by its first bytes.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(len(_ZSTD))
    if start.startswith(_GZIP):
        return "gzip"
    return "zstd" if start == _ZSTD else ""


def decompressed(file: HashingReader, compression: Compression) -> io.BufferedReader:
    """Return the bytes that were packed; closing them closes the file.

    Raises:
        DataError: zstd needs a package that is not installed.
    """
    if not compression:
        return io.BufferedReader(file, CHUNK)
    inner: _Reads
    if compression == "gzip":
        inner = gzip.GzipFile(fileobj=io.BufferedReader(file, CHUNK))
    else:
        module = import_extra("controller.data.sources.zstd", extra="data", what="reading zstd")
        inner = module.unzstd(file)
    return io.BufferedReader(_Unpacked(file, inner, compression), CHUNK)


class _Reads(Protocol):
    def read1(self, size: int, /) -> bytes: ...


class _Unpacked(io.RawIOBase):
    """What comes out of a decompressor, whose errors are told apart."""

    def __init__(self, file: HashingReader, inner: _Reads, name: str) -> None:
        self._file = file
        self._inner = inner
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view_example = memoryview(buffer)
        try:
            data = self._inner.read1(len(view_example))
        except EOFError:
            raise DataError(
                f"the {self._name} data ends too early: the file was cut off",
                "Copy it again, whole.",
            ) from None
        except (gzip.BadGzipFile, zlib.error):
            raise DataError(
                f"the {self._name} data is damaged", "Copy it again, or compress it anew."
            ) from None
        view_example[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
