"""Origins of examples, and outcomes of rows.

In: a built dataset, or the files of its sources. Out: single examples, single rows, and the reasons
for a line. Files are read line by line from their beginning, as far as needed.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from backends.contract.inspector import Json
from controller.data.dataset import Dataset, Split
from controller.data.errors import DataError
from controller.data.pipeline.row_conditions import Conditions
from controller.data.pipeline.write_splits import SPLITS
from controller.data.readers import json_array, read_rows
from controller.data.sources.source_file import SourceFile, SourceLabel
from controller.errors import FtctlError
from controller.spec.data import SplitName


class Origin(NamedTuple):
    """Place of a row in a source."""

    file: str
    """Path as in the dataset's origins: relative to the repository."""
    line: int
    """The line, or the number of the row from 1."""
    is_indexed: bool = False
    """True if messages refer to the row by its index."""

    def __str__(self) -> str:
        """Render as `file:line`, or `file[index]`."""
        return SourceLabel(self.file, self.is_indexed).of_row(self.line)


class StoredExample(NamedTuple):
    """One example of a dataset."""

    line: bytes
    """Its canonical line."""
    origin: str
    """`file:line`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplePosition:
    """Position of an example in a dataset."""

    split: SplitName
    number: int
    """Number from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedRow:
    """One row of a source's file."""

    starts: int
    """The line that it starts on."""
    values: Mapping[str, Json] | None
    """None for a row that cannot be read."""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOutcome:
    """Outcome of one row."""

    origin: Origin
    row: TracedRow
    positions: tuple[ExamplePosition, ...]
    """Its positions in the dataset; several for a source that is used several times."""
    reasons: tuple[tuple[str, str], ...]
    """Steps and their reasons, in order."""


def parse_origin(text: str) -> Origin | None:
    """Return the place that `file:line` or `file[index]` names, or None for any other text."""
    file, bracket, index = text.removesuffix("]").rpartition("[")
    if text.endswith("]") and bracket and file and index.isdecimal():
        return Origin(file, int(index) + 1, is_indexed=True)
    file, colon, line = text.rpartition(":")
    if not colon or not file or not line.isdecimal():
        return None
    return Origin(file, int(line))


def read_examples(split: Split, numbers: Iterable[int]) -> Iterator[tuple[int, StoredExample]]:
    """Yield the examples with the given numbers, from 0, and read no further than the last."""
    rest = sorted(set(numbers), reverse=True)
    if not rest:
        return
    with split.path.open("rb") as lines, split.origins.open("rb") as origins:
        for number, (line, origin) in enumerate(zip(lines, origins, strict=True)):
            if number == rest[-1]:
                yield number, StoredExample(line, origin.decode().rstrip("\n"))
                rest.pop()
                if not rest:
                    return


def find_positions(dataset: Dataset, origin: Origin) -> tuple[ExamplePosition, ...]:
    """Return the positions of the examples of one row."""
    origin_line = f"{origin}\n".encode()
    positions = []
    for name in SPLITS:
        split = dataset.splits[name]
        with split.origins.open("rb") as origins:
            positions += [
                ExamplePosition(split=name, number=number)
                for number, line in enumerate(origins, start=1)
                if line == origin_line
            ]
    return tuple(positions)


def find_reasons(reasons: Path, origin: Origin) -> tuple[tuple[str, str], ...]:
    """Return the steps that recorded a reason for one row, with the reasons."""
    start = f"{origin}: ".encode()
    found = []
    with reasons.open("rb") as file:
        for line in file:
            if line.startswith(start):
                step, _, reason = line[len(start) :].decode().rstrip("\n").partition(": ")
                found.append((step, reason))
    return tuple(found)


def find_row(file: SourceFile, line: int) -> TracedRow | None:
    """Return the row that a line of a file belongs to; None if the file ends before.

    A row of a table may have several lines; its first line identifies it.
    """
    row: TracedRow | None = None
    for starts, values in read_rows(file):
        if starts > line:
            break
        if isinstance(values, DataError):
            row = TracedRow(starts=starts, values=None, problem=values.message)
        else:
            row = TracedRow(starts=starts, values=values)
    else:
        # The end of the last row is unknown, so only its start counts.
        if row is not None and row.starts != line:
            return None
    return row


def _number(file: SourceFile, origin: Origin) -> int:
    """Return the number that the reader of a file gives to the row that a person names.

    Raises:
        FtctlError: The line holds several rows or none; or the row needs the other notation.
    """
    label = file.label
    if label.is_indexed == origin.is_indexed:
        return origin.line
    if origin.is_indexed:
        raise FtctlError(
            f"rows of {label.display_path} are named by their line, not by an index",
            f"Write the line: {label.display_path}:{origin.line}",
        )
    # A row's last line is where the next row begins.
    lines = [item.line for item in json_array.items(file)]
    first, last = bisect_left(lines, origin.line), bisect_right(lines, origin.line)
    if last - first > 1:
        raise FtctlError(
            f"line {origin.line} of {label.display_path} holds {last - first} rows",
            f"Name one of them: {label.of_row(first + 1)} to {label.of_row(last)}",
        )
    # The end of the last row is unknown, so only its start counts.
    return last + (first == last == len(lines))


def failed_conditions(file: SourceFile, row: TracedRow) -> Sequence[str]:
    """Return the conditions of a source that a row does not meet."""
    where, file_format = file.source.where, file.format
    return Conditions(where, file_format=file_format, is_table=False).failed(row.values or {})


def explain(dataset: Dataset, files: Sequence[SourceFile], origin: Origin) -> RowOutcome | None:
    """Return the outcome of a row; None if there is no such row."""
    for file in files:
        if file.display_path != origin.file:
            continue
        row = find_row(file, _number(file, origin))
        if row is None:
            continue
        start = Origin(origin.file, row.starts, file.label.is_indexed)
        reasons = find_reasons(dataset.report.reasons, start)
        positions = find_positions(dataset, start)
        if not positions and all(step == "read" for step, _ in reasons):
            failed = failed_conditions(file, row)
            reasons += tuple(("where", f"{text} does not hold") for text in failed)
        if not positions and not reasons and file.source.limit is not None:
            reasons = (("limit", f"beyond the first {file.source.limit}"),)
        return RowOutcome(origin=start, row=row, positions=positions, reasons=reasons)
    return None
