"""Find equal examples of data that exceeds the memory: by digest, one shard at a time.

Measured for a million examples on one core: 0.4 s; DuckDB takes 1.6 s and SQLite 4.6 s to insert
the same digests and find the duplicates, of 7 s for the whole build.
"""

from array import array
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from struct import Struct

from controller.data.storage.columns import DIGEST, DROPPED, HELD_OUT, SHARDS, ExampleBlock
from controller.data.storage.scratch import ScratchFile

_HEAD = Struct("<QI")
"""Before the digests of a block in a shard: number of the block's first example, and of digests."""

_NUMBER = 4


class DigestShards:
    """Digests of examples, in shards."""

    def __init__(self, folder: Path) -> None:
        """Prepare the shards; the folder is that of scratch files."""
        self._files = [ScratchFile(folder) for _ in range(SHARDS)]

    def add(self, first: int, block: ExampleBlock) -> None:
        """Add a block's digests to their shards; `first` is the number of its first example."""
        for file, (digests, numbers) in zip(self._files, block.shards, strict=True):
            if numbers:
                file.write(_HEAD.pack(first, len(numbers) // _NUMBER) + digests + numbers)

    def duplicates(self, splits: bytearray) -> Iterator[tuple[int, int]]:
        """Yield (number, first) for every example that is equal to an earlier example.

        Held-out examples count as earlier than training examples; dropped examples are ignored.
        """
        for file in self._files:
            if file.size and not _all_differ(shard := file.read()):
                yield from _duplicates(shard, splits)

    def close(self) -> None:
        """Remove the shards."""
        for file in self._files:
            file.close()


def _all_differ(shard: bytes) -> bool:
    """Return True if the first halves of all digests differ: numbers compare the fastest."""
    seen: set[int] = set()
    for _, digests, _ in _blocks(shard):
        halves = array("Q", digests)[:: DIGEST // 8]
        before = len(seen)
        seen.update(halves)
        if len(seen) - before < len(halves):
            return False
    return True


def _duplicates(shard: bytes, splits: bytearray) -> Iterator[tuple[int, int]]:
    first_of: dict[bytes, int] = {}
    for is_held_out in (True, False):
        for first, data, numbers in _blocks(shard):
            digests = (data[at : at + DIGEST] for at in range(0, len(data), DIGEST))
            for digest, in_block in zip(digests, array("I", numbers), strict=True):
                number = first + in_block
                if (splits[number] == HELD_OUT) == is_held_out and splits[number] != DROPPED:
                    known = first_of.setdefault(digest, number)
                    if known != number:
                        yield number, known


def _blocks(shard: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the number of each block's first example, its digests, and their numbers in it."""
    stream = BytesIO(shard)
    while head := stream.read(_HEAD.size):
        first, count = _HEAD.unpack(head)
        yield first, stream.read(count * DIGEST), stream.read(count * _NUMBER)
