"""Prepared examples of a build, in order, until the selection decides which of them stay.

Few examples stay in memory. Memory does not grow with their number: lines and columns move to
scratch files, and a few numbers are kept for each block.
"""

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from controller.data.storage.columns import NUMBERS, Column, ExampleBlock, FileRange
from controller.data.storage.exact_duplicates import DigestShards
from controller.data.storage.scratch import ScratchFile

_OWN = "lines"
"""Name for the scratch file of lines that came with their blocks."""


class BlockRef(NamedTuple):
    """A stored block."""

    source: int
    split: int
    first: int
    """Number of its first example."""
    examples: int
    json_lines: FileRange
    row_columns: tuple[int, int]
    """Offset and size of the values of its rows; the size is 0 if they are not wanted."""


class ExampleStore:
    """Prepared examples, written once and read as often as needed."""

    def __init__(self, folder: Path) -> None:
        """Prepare an empty store.

        Args:
            folder: Folder of files; created when there is one, removed by the caller.
        """
        self.folder = folder
        self.shared: Path | None = None
        """Folder in which other processes write lines, once `share` was called."""
        self.digests = DigestShards(folder)
        self.blocks: list[BlockRef] = []
        self.examples = 0
        self._widths: dict[Column, int] = {}
        self._columns: dict[Column, ScratchFile] = {}
        self._own = ScratchFile(folder)
        self._row_columns = ScratchFile(folder)
        self._files: dict[str, BinaryIO] = {}

    def share(self) -> None:
        """Create the folder, so that other processes can write lines into it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shared = self.folder

    def add(self, source: int, block: ExampleBlock) -> None:
        """Append a block of the source with a number."""
        if not block.examples:
            return
        json_lines = block.json_lines
        if isinstance(json_lines, bytes):
            place = FileRange(_OWN, self._own.size, len(json_lines))
            self._own.write(json_lines)
            json_lines = place
        values = (self._row_columns.size, len(block.row_columns))
        ref = BlockRef(source, block.split, self.examples, block.examples, json_lines, values)
        self.blocks.append(ref)
        if block.row_columns:
            self._row_columns.write(block.row_columns)
        for name, data in block.columns.items():
            if name not in self._columns:
                self._columns[name] = ScratchFile(self.folder)
                self._widths[name] = len(data) // block.examples
            self._columns[name].write(data)
        if block.shards:
            self.digests.add(self.examples, block)
        self.examples += block.examples

    def close(self) -> None:
        """Close all files."""
        self.digests.close()
        self._own.close()
        self._row_columns.close()
        for column in self._columns.values():
            column.close()
        for file in self._files.values():
            file.close()

    def has(self, name: Column) -> bool:
        """Return whether the examples have a column."""
        return name in self._columns

    def numbers(self, name: Column) -> Iterator[tuple[BlockRef, "array[int]"]]:
        """Yield a column of numbers, block by block, in order."""
        for block, data in self._column(name):
            yield block, array(NUMBERS[name], data)

    def keys(self, name: Column, size: int) -> Iterator[tuple[BlockRef, list[bytes]]]:
        """Yield a column of keys of `size` bytes, block by block, in order.

        A column may have several keys for each example, one after the other.
        """
        for block, data in self._column(name):
            yield block, [data[at : at + size] for at in range(0, len(data), size)]

    def read(self, block: BlockRef) -> bytes:
        """Return the canonical lines of a block."""
        return self._read(block, 0, block.json_lines.size)

    def row_columns(self, block: BlockRef) -> list[bytes]:
        """Return a line with values of its row for each example of a block; empty if not wanted."""
        offset, size = block.row_columns
        return self._row_columns.read(offset, size).splitlines(keepends=True) if size else []

    def origin(self, number: int) -> tuple[int, int]:
        """Return the source and the line in it of the example with a number."""
        return self._block(number).source, self._values("line", number, 1)[0]

    def json_line(self, number: int) -> bytes:
        """Return the canonical line of the example with a number."""
        block = self._block(number)
        *before, size = self._values("size", block.first, number - block.first + 1)
        return self._read(block, sum(before), size)

    def _read(self, block: BlockRef, start: int, size: int) -> bytes:
        name, offset, _ = block.json_lines
        if name == _OWN:
            return self._own.read(offset + start, size)
        if name not in self._files:
            self._files[name] = (self.folder / name).open("rb", buffering=0)
        return os.pread(self._files[name].fileno(), size, offset + start)

    def _column(self, name: Column) -> Iterator[tuple[BlockRef, bytes]]:
        for block in self.blocks:
            width = self._widths[name]
            yield block, self._columns[name].read(block.first * width, block.examples * width)

    def _block(self, number: int) -> BlockRef:
        after = bisect_right(self.blocks, number, key=lambda block: block.first)
        return self.blocks[after - 1]

    def _values(self, name: Column, first: int, count: int) -> "array[int]":
        width = self._widths[name]
        return array(NUMBERS[name], self._columns[name].read(first * width, count * width))
