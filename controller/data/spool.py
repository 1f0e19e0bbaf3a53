"""The prepared examples on the disk, in order, until it is decided which stay.

Memory does not grow with them: a line and a record of each lie in files, and a few numbers are
kept for each batch.
"""

import os
from bisect import bisect_right
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, NamedTuple

from controller.data.recipe import RECORD, Prepared

_AT_ONCE = 4_096
"""Records that are read at once."""


class Record(NamedTuple):
    """What is known of one prepared example."""

    line: int
    """Where it stands in its source."""
    size: int
    """Bytes of its canonical line."""
    tokens: int
    question: int
    """Hash of what it asks."""
    side: int
    """Hash that decides its side."""
    digest: bytes


class Stretch(NamedTuple):
    """Examples of one batch, all of one source."""

    source: int
    first: int
    """Number of its first example."""
    examples: int
    offset: int
    """Where its first line begins."""


class Spool:
    """Prepared examples, written once and read as often as needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stretches: list[Stretch] = []
        self.examples = 0
        self.bands = 0
        """Band keys that each example has."""
        self._offset = 0
        self._lines = (folder / "lines").open("w+b")
        self._records = (folder / "records").open("w+b")
        self._keys = {name: (folder / name).open("w+b") for name in ("strata", "bands")}

    def add(self, source: int, prepared: Prepared) -> None:
        """Append what became of a batch."""
        examples = len(prepared.records) // RECORD.size
        if not examples:
            return
        self.stretches.append(Stretch(source, self.examples, examples, self._offset))
        self._lines.write(prepared.lines)
        self._records.write(prepared.records)
        self._keys["strata"].write(prepared.strata)
        self._keys["bands"].write(prepared.bands)
        self.bands = len(prepared.bands) // 8 // examples
        self.examples += examples
        self._offset += len(prepared.lines)

    def finish(self) -> None:
        """Have everything where it can be read."""
        for file in (self._lines, self._records, *self._keys.values()):
            file.flush()

    def close(self) -> None:
        """Close the files."""
        for file in (self._lines, self._records, *self._keys.values()):
            file.close()

    def records_by_stretch(self) -> Iterator[tuple[Stretch, list[Record]]]:
        """Yield the records of every example, in order, with where they come from."""
        self._records.seek(0)
        for stretch in self.stretches:
            data = self._records.read(stretch.examples * RECORD.size)
            yield stretch, [Record._make(found) for found in RECORD.iter_unpack(data)]

    def records(self) -> Iterator[tuple[int, Record]]:
        """Yield the source and the record of every example, in order."""
        for stretch, records in self.records_by_stretch():
            for record in records:
                yield stretch.source, record

    def columns(self, form: Struct) -> Iterator[tuple[Any, ...]]:
        """Yield some fields of every record, in order: a `RECORD` with others left out."""
        self._records.seek(0)
        parts = iter(lambda: self._records.read(_AT_ONCE * form.size), b"")
        return chain.from_iterable(form.iter_unpack(part) for part in parts)

    def keys(self, name: str, each: int) -> Iterator[tuple[bytes, ...]]:
        """Yield the 8-byte keys of every example, `each` for each: `strata` or `bands`."""
        file, form = self._keys[name], Struct("8s" * each)
        file.seek(0)
        parts = iter(lambda: file.read(_AT_ONCE * form.size), b"")
        return chain.from_iterable(form.iter_unpack(part) for part in parts)

    def open_lines(self) -> BinaryIO:
        """Open the canonical lines for reading from the first one on."""
        return (self.folder / "lines").open("rb")

    def place(self, number: int) -> tuple[int, int]:
        """Return the source and the line of one example, wherever it is."""
        return self._stretch(number).source, self._records_from(number, 1)[0].line

    def text(self, number: int) -> bytes:
        """Return the canonical line of one example, wherever it is."""
        stretch = self._stretch(number)
        *before, record = self._records_from(stretch.first, number - stretch.first + 1)
        offset = stretch.offset + sum(one.size for one in before)
        return os.pread(self._lines.fileno(), record.size, offset)

    def _stretch(self, number: int) -> Stretch:
        after = bisect_right(self.stretches, number, key=lambda stretch: stretch.first)
        return self.stretches[after - 1]

    def _records_from(self, number: int, count: int) -> list[Record]:
        # Not through the file object, whose place belongs to whoever reads all records.
        data = os.pread(self._records.fileno(), count * RECORD.size, number * RECORD.size)
        return [Record(*found) for found in RECORD.iter_unpack(data)]
