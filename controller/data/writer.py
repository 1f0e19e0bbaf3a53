"""Write a file of lines once, and know its digest without reading it again."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from controller.data.aside import Aside

_BATCH = 1 << 18
"""Bytes that are hashed and written at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One file of a dataset."""

    size: int
    sha256: str
    lines: int


class Writer:
    """A file that is written once and knows its digest."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._sha256 = hashlib.sha256()
        self._hash = Aside(self._sha256.update)
        self._write = Aside(self._file.write)
        self._pending: list[bytes] = []
        self._size = 0
        self.lines = 0

    def add(self, data: bytes, lines: int = 1) -> None:
        """Add some lines, each with its line end."""
        self.lines += lines
        self._pending.append(data)
        self._size += len(data)
        if self._size >= _BATCH:
            self._flush()

    def finish(self) -> Written:
        """Force everything to the disk and say what the file is."""
        self._flush()
        self._hash.wait()
        self._write.wait()
        self._file.flush()
        os.fsync(self._file.fileno())
        return Written(size=self._file.tell(), sha256=self._sha256.hexdigest(), lines=self.lines)

    def close(self) -> None:
        """Close the file, finished or not."""
        self._hash.close()
        self._write.close()
        self._file.close()

    def _flush(self) -> None:
        lines = b"".join(self._pending)
        self._pending.clear()
        self._size = 0
        self._hash(lines)
        self._write(lines)
