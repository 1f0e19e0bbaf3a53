"""Group equal keys of data that exceeds the memory: keys are spread over files by their prefix.

Equal keys are in the same file, and one file at a time is sorted in memory.
"""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from struct import Struct

from controller.data.storage.scratch import ScratchFile

_KEYS_PER_FILE = 100_000
"""Approximate number of keys of a file, which take some 15 MB while they are sorted."""

_MAX_FILES = 256
"""Maximum number of files, well below the number that a process may open."""

_BUFFER = 1 << 15


class GroupByKey:
    """Keys, each with the number of its example."""

    def __init__(self, folder: Path, *, key_bytes: int, expected: int) -> None:
        """Prepare the files.

        Args:
            folder: Folder of large files; the caller removes it.
            key_bytes: Length of every key; its first two bytes must be evenly distributed.
            expected: Approximate number of keys.
        """
        self._entry = Struct(f"{key_bytes}sQ")
        self._pack = self._entry.pack
        files = min(1 + expected // _KEYS_PER_FILE, _MAX_FILES)
        self._files = [ScratchFile(folder) for _ in range(files)]
        # Millions of keys are added one by one: appending to a bytearray is faster than writing.
        self._pending = [bytearray() for _ in range(files)]

    def add(self, key: bytes, number: int) -> None:
        """Add a key and the number of its example."""
        at = (key[0] << 8 | key[1]) % len(self._files)
        pending = self._pending[at]
        pending += self._pack(key, number)
        if len(pending) >= _BUFFER:
            self._files[at].write(pending)
            pending.clear()

    def groups(self) -> Iterator[list[int]]:
        """Yield the numbers of each key, in ascending order."""
        for file, pending in zip(self._files, self._pending, strict=True):
            entries = sorted(self._entry.iter_unpack(file.read() + pending))
            for _, same in groupby(entries, key=itemgetter(0)):
                yield [number for _, number in same]

    def close(self) -> None:
        """Remove the files."""
        for file in self._files:
            file.close()
