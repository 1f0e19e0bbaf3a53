"""Write a file of lines once, and know its digest without reading it again.

A large file is forced to the disk. A small one is not, which takes a hundred times as long as
writing it: whoever uses it must compare its digest.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from controller.data.storage.background_writer import BackgroundTask

_BATCH = 1 << 18
"""Bytes that are hashed and written at once."""

SMALL = 32 << 10
"""Bytes up to which a file is not forced to the disk: it is read and hashed in less time than a
file system takes to find out whether it changed and to say so reliably after a crash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFile:
    """One file of a dataset."""

    size: int
    sha256: str
    lines: int


class HashingWriter:
    """A file that is written once and knows its digest."""

    def __init__(self, path: Path) -> None:
        """Prepare to write a file; it is made with its first bytes, at the latest by `finish`."""
        self._path = path
        self._file: BinaryIO | None = None
        self._sha256 = hashlib.sha256()
        self._hash = BackgroundTask(self._sha256.update)
        self._write = BackgroundTask(self._append)
        self._pending: list[bytes] = []
        self._waiting = 0
        self._size = 0
        self.lines = 0

    def add(self, data: bytes, lines: int = 1) -> None:
        """Add some lines, each with its line end."""
        self.lines += lines
        self._pending.append(data)
        self._waiting += len(data)
        if self._waiting >= _BATCH:
            self._flush()

    def finish(self) -> WrittenFile:
        """Write what is left, force a large file to the disk, and return what the file is."""
        self._flush()
        self._hash.wait()
        self._write.wait()
        if self._file is not None:
            self._file.flush()
            if self._size > SMALL:
                os.fsync(self._file.fileno())
        return WrittenFile(size=self._size, sha256=self._sha256.hexdigest(), lines=self.lines)

    def close(self) -> None:
        """Close the file, finished or not."""
        self._hash.close()
        self._write.close()
        if self._file is not None:
            self._file.close()

    def _flush(self) -> None:
        lines = b"".join(self._pending)
        self._pending.clear()
        self._waiting = 0
        self._size += len(lines)
        self._hash(lines)
        self._write(lines)

    def _append(self, lines: bytes) -> None:
        if self._file is None:
            self._file = self._path.open("wb")
        self._file.write(lines)
