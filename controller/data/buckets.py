"""Find equal keys among more than fit into memory: parted by their first bytes into files.

All equal keys are in one part, and one part at a time is looked through.
"""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Self

_IN_PART = 100_000
"""Keys in one part, about: some 15 MB while it is looked through."""

_MOST_PARTS = 256
"""Files that are open at once, well below what a process may open."""

_BUFFER = 1 << 15


class Buckets:
    """Keys, each with the number of its example."""

    def __init__(self, folder: Path, *, key_bytes: int, expected: int) -> None:
        """Open a file for each part.

        Args:
            folder: Where the files go; the caller removes it.
            key_bytes: Length of every key; its first two bytes must be evenly spread.
            expected: How many keys will come, about.
        """
        self._entry = Struct(f"{key_bytes}sQ")
        self._pack = self._entry.pack
        parts = min(1 + expected // _IN_PART, _MOST_PARTS)
        self._files = [
            (folder / f"bucket-{number}").open("w+b", buffering=_BUFFER) for number in range(parts)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files:
            file.close()

    def add(self, key: bytes, number: int) -> None:
        """Put a key into its part."""
        part = (key[0] << 8 | key[1]) % len(self._files)
        self._files[part].write(self._pack(key, number))

    def groups(self) -> Iterator[list[int]]:
        """Yield the numbers of every key, in order, part by part."""
        for file in self._files:
            file.seek(0)
            entries = sorted(self._entry.iter_unpack(file.read()))
            for _, same in groupby(entries, key=itemgetter(0)):
                yield [number for _, number in same]
