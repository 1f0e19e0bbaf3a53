"""Find equal keys among more than fit into memory: parted by their first bytes into files.

All equal keys are in one part, and one part at a time is looked through. Few keys stay in memory.
"""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Self

from controller.data.storage.scratch import Scratch

_IN_PART = 100_000
"""Keys in one part, about: some 15 MB while it is looked through."""

_MOST_PARTS = 256
"""Files that are open at once, well below what a process may open."""

_BUFFER = 1 << 15


class GroupByKey:
    """Keys, each with the number of its example."""

    def __init__(self, folder: Path, *, key_bytes: int, expected: int) -> None:
        """Prepare a scratch file for each part.

        Args:
            folder: Where the files go once they are large; the caller removes it.
            key_bytes: Length of every key; its first two bytes must be evenly spread.
            expected: How many keys will come, about.
        """
        self._entry = Struct(f"{key_bytes}sQ")
        self._pack = self._entry.pack
        parts = min(1 + expected // _IN_PART, _MOST_PARTS)
        self._scratch = Scratch(folder)
        self._files = [self._scratch.open(f"bucket-{number}") for number in range(parts)]
        # Millions of keys are added, one by one.
        self._pending = [bytearray() for _ in range(parts)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._scratch.close()

    def add(self, key: bytes, number: int) -> None:
        """Put a key into its part."""
        part = (key[0] << 8 | key[1]) % len(self._files)
        pending = self._pending[part]
        pending += self._pack(key, number)
        if len(pending) >= _BUFFER:
            self._files[part].write(pending)
            pending.clear()

    def groups(self) -> Iterator[list[int]]:
        """Yield the numbers of every key, in order, part by part."""
        for file, pending in zip(self._files, self._pending, strict=True):
            entries = sorted(self._entry.iter_unpack(file.stream().read() + pending))
            for _, same in groupby(entries, key=itemgetter(0)):
                yield [number for _, number in same]
