"""The prepared examples, in order, until it is decided which stay.

Few stay in memory. Memory does not grow with many: lines and columns move to scratch files, and a
few numbers are kept for each page.
"""

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from controller.data.storage.columns import NUMBERS, Column, ExampleBlock, FileRange
from controller.data.storage.exact_duplicates import DigestShards
from controller.data.storage.scratch import Scratch, ScratchFile

_LINES = "lines"
"""Name of the scratch file with the lines that came with their pages."""


class BlockRef(NamedTuple):
    """The examples of one page."""

    source: int
    split: int
    first: int
    """Number of its first example."""
    examples: int
    lines: FileRange


class ExampleStore:
    """Prepared examples, written once and read as often as needed."""

    def __init__(self, folder: Path) -> None:
        """Prepare for examples.

        Args:
            folder: Where scratch files go; created when there are any, removed by the caller.
        """
        self.folder = folder
        self.shared: Path | None = None
        """Where other processes leave lines, once `share` was called."""
        self._scratch = Scratch(folder)
        self.equal = DigestShards(self._scratch)
        self.blocks: list[BlockRef] = []
        self.examples = 0
        self._widths: dict[Column, int] = {}
        self._columns: dict[Column, ScratchFile] = {}
        self._own = self._scratch.open(_LINES)
        self._lines: dict[str, BinaryIO] = {}

    def share(self) -> None:
        """Make the folder, so that other processes can leave lines in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shared = self.folder

    def add(self, source: int, block: ExampleBlock) -> None:
        """Append a page."""
        if not block.examples:
            return
        lines = block.lines
        if isinstance(lines, bytes):
            extent = FileRange(_LINES, self._own.size, len(lines))
            self._own.write(lines)
            lines = extent
        ref = BlockRef(source, block.split, self.examples, block.examples, lines)
        self.blocks.append(ref)
        for name, data in block.columns.items():
            if name not in self._columns:
                self._columns[name] = self._scratch.open(name)
                self._widths[name] = len(data) // block.examples
            self._columns[name].write(data)
        if block.shards:
            self.equal.add(self.examples, block)
        self.examples += block.examples

    def close(self) -> None:
        """Close the files."""
        self._scratch.close()
        for file in self._lines.values():
            file.close()

    def has(self, name: Column) -> bool:
        """Say whether a column is there."""
        return name in self._columns

    def numbers(self, name: Column) -> Iterator[tuple[BlockRef, "array[int]"]]:
        """Yield a column of numbers, page by page, in order."""
        for block, data in self._blocks(name):
            values = array(NUMBERS[name])
            values.frombytes(data)
            yield block, values

    def keys(self, name: Column, size: int) -> Iterator[tuple[BlockRef, list[bytes]]]:
        """Yield a column of keys of some bytes each, page by page, in order.

        Of a column with several keys for each example, all of them, one after the other.
        """
        for block, data in self._blocks(name):
            yield block, [data[at : at + size] for at in range(0, len(data), size)]

    def read(self, block: BlockRef) -> bytes:
        """Return the canonical lines of a page."""
        return self._read(block, 0, block.lines.size)

    def place(self, number: int) -> tuple[int, int]:
        """Return the source and the line of one example, wherever it is."""
        return self._block(number).source, self._some("line", number, 1)[0]

    def text(self, number: int) -> bytes:
        """Return the canonical line of one example, wherever it is."""
        block = self._block(number)
        *before, size = self._some("size", block.first, number - block.first + 1)
        return self._read(block, sum(before), size)

    def _read(self, block: BlockRef, start: int, size: int) -> bytes:
        name, offset, _ = block.lines
        if name == _LINES:
            return self._own.read(offset + start, size)
        if name not in self._lines:
            self._lines[name] = (self.folder / name).open("rb", buffering=0)
        return os.pread(self._lines[name].fileno(), size, offset + start)

    def _blocks(self, name: Column) -> Iterator[tuple[BlockRef, bytes]]:
        if not self.blocks:
            return
        file, width = self._columns[name].stream(), self._widths[name]
        for block in self.blocks:
            yield block, file.read(block.examples * width)

    def _block(self, number: int) -> BlockRef:
        after = bisect_right(self.blocks, number, key=lambda block: block.first)
        return self.blocks[after - 1]

    def _some(self, name: Column, first: int, count: int) -> "array[int]":
        width = self._widths[name]
        data = self._columns[name].read(first * width, count * width)
        values = array(NUMBERS[name])
        values.frombytes(data)
        return values
