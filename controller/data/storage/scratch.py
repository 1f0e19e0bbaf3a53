"""Scratch files of one build: in memory while they are small together, then on the disk.

Most datasets are small, and a file that is made only to be removed costs more than building them.
What grows beyond the limit moves to a folder, so that memory does not grow with the data.
"""

import os
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

LIMIT = 8 << 20
"""Bytes of all files of one build together that stay in memory."""

_BUFFER = 1 << 15


class Scratch:
    """Scratch files by name. One process at a time may use them."""

    def __init__(self, folder: Path) -> None:
        """Prepare for files; none is made on the disk yet.

        Args:
            folder: Where the files go once they are too large; created then, removed by the caller.
        """
        self._folder = folder
        self._left = LIMIT
        self._files: dict[str, ScratchFile] = {}

    def open(self, name: str) -> "ScratchFile":
        """Return the file with a name, made empty the first time."""
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = ScratchFile(self)
            if self._left < 0:
                file.move_to_disk(self._folder / name)
        return file

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.close()

    def grow(self, size: int) -> None:
        """Count bytes that a file in memory grew by; move all files to the disk at the limit."""
        self._left -= size
        if self._left < 0:
            self._folder.mkdir(parents=True, exist_ok=True)
            for name, file in self._files.items():
                file.move_to_disk(self._folder / name)


class ScratchFile:
    """Bytes that are appended, then read; written and read by turns, too."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._memory = bytearray()
        self._file: BinaryIO | None = None
        self._was_streamed = False
        self.size = 0

    def write(self, data: bytes | bytearray) -> None:
        """Append bytes."""
        self.size += len(data)
        if self._file is not None:
            if self._was_streamed:
                self._file.seek(0, os.SEEK_END)
                self._was_streamed = False
            self._file.write(data)
        else:
            self._memory += data
            self._scratch.grow(len(data))

    def read(self, start: int, size: int) -> bytes:
        """Return some of the bytes, wherever they are; a stream of all stays where it is."""
        if self._file is None:
            return bytes(memoryview(self._memory)[start : start + size])
        self._file.flush()
        return os.pread(self._file.fileno(), size, start)

    def stream(self) -> BinaryIO:
        """Return a stream of all bytes, from the first. One at a time can be read."""
        if self._file is None:
            return BytesIO(self._memory)
        self._file.seek(0)
        self._was_streamed = True
        return self._file

    def move_to_disk(self, path: Path) -> None:
        """Make a file of what is in memory."""
        if self._file is None:
            self._file = path.open("w+b", buffering=_BUFFER)
            self._file.write(self._memory)
            self._memory.clear()

    def close(self) -> None:
        """Close the file, if it is one."""
        if self._file is not None:
            self._file.close()
