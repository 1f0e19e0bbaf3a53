"""Write a file of lines and compute its digest at the same time.

A large file is forced to the disk. Forcing takes a hundred times as long as writing a small file,
so whoever uses a small file must compare its digest.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from backends.contract.inspector import Json

_BATCH = 1 << 18
"""Bytes to hash and write at once."""

SMALL = 32 << 10
"""Maximum bytes of a file that is not forced to the disk: reading and hashing it is faster than
checking reliably, after a crash, whether it changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFile:
    """One file of a dataset."""

    size: int
    sha256: str
    lines: int

    def as_json(self) -> dict[str, Json]:
        """Return the facts as in a dataset's manifest."""
        return {"size": self.size, "sha256": self.sha256, "lines": self.lines}


class HashingWriter:
    """A file that is written once and knows its digest."""

    def __init__(self, path: Path) -> None:
        """Prepare to write a file; it is created with its first bytes, or by `finish`."""
        self._path = path
        self._file: BinaryIO | None = None
        self._sha256 = hashlib.sha256()
        self._pending: list[bytes] = []
        self._waiting = 0
        self._size = 0
        self.lines = 0

    def add(self, data: bytes, lines: int = 1) -> None:
        """Add lines, each with its line end."""
        self.lines += lines
        self._pending.append(data)
        self._waiting += len(data)
        if self._waiting >= _BATCH:
            self._flush()

    def finish(self) -> WrittenFile:
        """Write the rest, force a large file to the disk, and return the file's facts."""
        file = self._flush()
        file.flush()
        if self._size > SMALL:
            os.fsync(file.fileno())
        return WrittenFile(size=self._size, sha256=self._sha256.hexdigest(), lines=self.lines)

    def close(self) -> None:
        """Close the file, finished or not."""
        if self._file is not None:
            self._file.close()

    def _flush(self) -> BinaryIO:
        if self._file is None:
            self._file = self._path.open("wb")
        data = b"".join(self._pending)
        self._pending.clear()
        self._waiting = 0
        self._size += len(data)
        self._sha256.update(data)
        self._file.write(data)
        return self._file
