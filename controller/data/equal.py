"""Find equal examples among more than fit into memory: by digest, one shard at a time."""

from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from struct import Struct

from controller.data.page import DIGEST, HELD_OUT, SHARDS, Page

_HEAD = Struct("<QI")
"""Before the digests of a page in a shard: number of the page's first example, how many follow."""

_NUMBER = 4


class Equal:
    """Digests of examples, in shards on the disk."""

    def __init__(self, folder: Path) -> None:
        """Open a file for each shard in a folder, which the caller removes."""
        self._stack = ExitStack()
        self._files = [
            self._stack.enter_context((folder / f"shard-{number}").open("w+b"))
            for number in range(SHARDS)
        ]

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def add(self, first: int, page: Page) -> None:
        """Put a page's digests into their shards.

        Args:
            first: Number of the page's first example.
            page: The page.
        """
        for file, (digests, numbers) in zip(self._files, page.shards, strict=True):
            if numbers:
                file.write(_HEAD.pack(first, len(numbers) // _NUMBER) + digests + numbers)

    def repeated(self, verdicts: bytearray) -> Iterator[tuple[int, int]]:
        """Yield (number, first) for every example that is equal to an earlier one.

        Where training and held-out examples are equal, the held-out one counts as the earlier.
        """
        for file in self._files:
            file.seek(0)
            data = file.read()
            digests = [digest for _, shard, _ in _pages(data) for digest in shard]
            if len(set(digests)) == len(digests):
                continue
            numbers = chain.from_iterable(
                [first + number for number in page] for first, _, page in _pages(data)
            )
            found = sorted(
                zip(numbers, digests, strict=True),
                key=lambda one: (verdicts[one[0]] != HELD_OUT, one[0]),
            )
            first_of: dict[bytes, int] = {}
            for number, digest in found:
                first = first_of.setdefault(digest, number)
                if first != number:
                    yield number, first


def _pages(data: bytes) -> Iterator[tuple[int, list[bytes], "array[int]"]]:
    at = 0
    while at < len(data):
        first, count = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        middle, end = at + count * DIGEST, at + count * (DIGEST + _NUMBER)
        numbers = array("I")
        numbers.frombytes(data[middle:end])
        yield first, [data[start : start + DIGEST] for start in range(at, middle, DIGEST)], numbers
        at = end
