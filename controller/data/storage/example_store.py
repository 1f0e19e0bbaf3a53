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
    verdict: int
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
        self.stretches: list[BlockRef] = []
        self.examples = 0
        self._widths: dict[Column, int] = {}
        self._columns: dict[Column, ScratchFile] = {}
        self._own = self._scratch.open(_LINES)
        self._lines: dict[str, BinaryIO] = {}

    def share(self) -> None:
        """Make the folder, so that other processes can leave lines in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shared = self.folder

    def add(self, source: int, page: ExampleBlock) -> None:
        """Append a page."""
        if not page.examples:
            return
        lines = page.lines
        if isinstance(lines, bytes):
            extent = FileRange(_LINES, self._own.size, len(lines))
            self._own.write(lines)
            lines = extent
        stretch = BlockRef(source, page.verdict, self.examples, page.examples, lines)
        self.stretches.append(stretch)
        for name, data in page.columns.items():
            if name not in self._columns:
                self._columns[name] = self._scratch.open(name)
                self._widths[name] = len(data) // page.examples
            self._columns[name].write(data)
        if page.shards:
            self.equal.add(self.examples, page)
        self.examples += page.examples

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
        for stretch, data in self._pages(name):
            values = array(NUMBERS[name])
            values.frombytes(data)
            yield stretch, values

    def keys(self, name: Column, size: int) -> Iterator[tuple[BlockRef, list[bytes]]]:
        """Yield a column of keys of some bytes each, page by page, in order.

        Of a column with several keys for each example, all of them, one after the other.
        """
        for stretch, data in self._pages(name):
            yield stretch, [data[at : at + size] for at in range(0, len(data), size)]

    def read(self, stretch: BlockRef) -> bytes:
        """Return the canonical lines of a page."""
        return self._read(stretch, 0, stretch.lines.size)

    def place(self, number: int) -> tuple[int, int]:
        """Return the source and the line of one example, wherever it is."""
        return self._stretch(number).source, self._some("line", number, 1)[0]

    def text(self, number: int) -> bytes:
        """Return the canonical line of one example, wherever it is."""
        stretch = self._stretch(number)
        *before, size = self._some("size", stretch.first, number - stretch.first + 1)
        return self._read(stretch, sum(before), size)

    def _read(self, stretch: BlockRef, start: int, size: int) -> bytes:
        name, offset, _ = stretch.lines
        if name == _LINES:
            return self._own.read(offset + start, size)
        if name not in self._lines:
            self._lines[name] = (self.folder / name).open("rb", buffering=0)
        return os.pread(self._lines[name].fileno(), size, offset + start)

    def _pages(self, name: Column) -> Iterator[tuple[BlockRef, bytes]]:
        if not self.stretches:
            return
        file, width = self._columns[name].stream(), self._widths[name]
        for stretch in self.stretches:
            yield stretch, file.read(stretch.examples * width)

    def _stretch(self, number: int) -> BlockRef:
        after = bisect_right(self.stretches, number, key=lambda stretch: stretch.first)
        return self.stretches[after - 1]

    def _some(self, name: Column, first: int, count: int) -> "array[int]":
        width = self._widths[name]
        data = self._columns[name].read(first * width, count * width)
        values = array(NUMBERS[name])
        values.frombytes(data)
        return values
