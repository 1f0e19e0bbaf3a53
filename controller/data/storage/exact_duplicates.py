"""Find equal examples among more than fit into memory: by digest, one shard at a time."""

from array import array
from collections.abc import Iterator
from struct import Struct
from typing import BinaryIO

from controller.data.storage.columns import DIGEST, DROPPED, HELD_OUT, SHARDS, ExampleBlock
from controller.data.storage.scratch import Scratch, ScratchFile

_HEAD = Struct("<QI")
"""Before the digests of a page in a shard: number of the page's first example, how many follow."""

_NUMBER = 4


class DigestShards:
    """Digests of examples, in shards."""

    def __init__(self, scratch: Scratch) -> None:
        """Open a scratch file for each shard; the caller closes them."""
        self._files = [scratch.open(f"shard-{number}") for number in range(SHARDS)]

    def add(self, first: int, block: ExampleBlock) -> None:
        """Put a page's digests into their shards.

        Args:
            first: Number of the page's first example.
            block: The page.
        """
        for file, (digests, numbers) in zip(self._files, block.shards, strict=True):
            if numbers:
                file.write(_HEAD.pack(first, len(numbers) // _NUMBER) + digests + numbers)

    def duplicates(self, splits: bytearray) -> Iterator[tuple[int, int]]:
        """Yield (number, first) for every example that is equal to an earlier one.

        Where training and held-out examples are equal, the held-out one counts as the earlier.
        Dropped ones count for nothing.
        """
        for file in self._files:
            if file.size and not _all_differ(file):
                yield from _repeated(file, splits)


def _all_differ(file: ScratchFile) -> bool:
    """Say whether no two digests have the same first half: numbers are compared the fastest."""
    seen: set[int] = set()
    for _, digests, _ in _blocks(file.stream()):
        halves = array("Q", digests)[:: DIGEST // 8]
        before = len(seen)
        seen.update(halves)
        if len(seen) - before < len(halves):
            return False
    return True


def _repeated(file: ScratchFile, splits: bytearray) -> Iterator[tuple[int, int]]:
    first_of: dict[bytes, int] = {}
    for is_held_out in (True, False):
        for first, data, places in _blocks(file.stream()):
            digests = (data[at : at + DIGEST] for at in range(0, len(data), DIGEST))
            for digest, place in zip(digests, array("I", places), strict=True):
                number = first + place
                if (splits[number] == HELD_OUT) == is_held_out and splits[number] != DROPPED:
                    known = first_of.setdefault(digest, number)
                    if known != number:
                        yield number, known


def _blocks(file: BinaryIO) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the number of each page's first example, its digests, and their examples' places."""
    while head := file.read(_HEAD.size):
        first, count = _HEAD.unpack(head)
        yield first, file.read(count * DIGEST), file.read(count * _NUMBER)
