"""Where an example came from, and what became of a row.

In: a built dataset, or the files of its sources. Out: single examples, single rows, the reasons
that concern a line. Files are read from their beginning, one line after the other, as far as needed.
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
from controller.data.pipeline.write_splits import NAMES
from controller.data.readers import json_array, read_rows
from controller.data.report import SplitName
from controller.data.resolve_sources import ResolvedFile
from controller.data.sources.source_file import SourceLabel
from controller.errors import FtctlError


class Origin(NamedTuple):
    """A place that a person can look at."""

    file: str
    """As the dataset's origins spell it: relative to the repository."""
    line: int
    """The line, or the number of the row from 1 on."""
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
    """Where an example is in a dataset."""

    part: SplitName
    number: int
    """From 1 on."""


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
    """What became of one row."""

    origin: Origin
    row: TracedRow
    places: tuple[ExamplePosition, ...]
    """Where it is in the dataset; several for a source that is used several times."""
    reasons: tuple[tuple[str, str], ...]
    """Step and reason, in the order in which they were found."""


def parse_origin(text: str) -> Origin | None:
    """Return the place that `file:line` or `file[index]` names, or None for any other text."""
    file, bracket, index = text.removesuffix("]").rpartition("[")
    if text.endswith("]") and bracket and file and index.isdecimal():
        return Origin(file, int(index) + 1, is_indexed=True)
    file, colon, line = text.rpartition(":")
    if not colon or not file or not line.isdecimal():
        return None
    return Origin(file, int(line))


def read_examples(part: Split, numbers: Iterable[int]) -> Iterator[tuple[int, StoredExample]]:
    """Yield some examples of a part, in order, and read no further than the last.

    Args:
        part: The train or the held-out half.
        numbers: Which, from 0 on.
    """
    wanted = sorted(set(numbers), reverse=True)
    if not wanted:
        return
    with part.path.open("rb") as lines, part.origins.open("rb") as origins:
        for number, (line, origin) in enumerate(zip(lines, origins, strict=True)):
            if number == wanted[-1]:
                yield number, StoredExample(line, origin.decode().rstrip("\n"))
                wanted.pop()
                if not wanted:
                    return


def find_places(dataset: Dataset, origin: Origin) -> tuple[ExamplePosition, ...]:
    """Return where the examples of one line of a source are."""
    looked_for = f"{origin}\n".encode()
    places = []
    for name in NAMES:
        part: Split = getattr(dataset, name)
        with part.origins.open("rb") as origins:
            places += [
                ExamplePosition(part=name, number=number)
                for number, line in enumerate(origins, start=1)
                if line == looked_for
            ]
    return tuple(places)


def find_reasons(reasons: Path, origin: Origin) -> tuple[tuple[str, str], ...]:
    """Return what steps had to say of one line of a source."""
    start = f"{origin}: ".encode()
    found = []
    with reasons.open("rb") as file:
        for line in file:
            if line.startswith(start):
                step, _, reason = line[len(start) :].decode().rstrip("\n").partition(": ")
                found.append((step, reason))
    return tuple(found)


def find_row(given: ResolvedFile, line: int) -> TracedRow | None:
    """Return the row that a line of a file belongs to; None when the file ends before.

    A row of a table may go over several lines; it is called by the first.
    """
    found: TracedRow | None = None
    for starts, values in read_rows(given.file):
        if starts > line:
            break
        if isinstance(values, DataError):
            found = TracedRow(starts=starts, values=None, problem=values.message)
        else:
            found = TracedRow(starts=starts, values=values)
    else:
        # The last row: its end is not known, so only its start is believed.
        if found is not None and found.starts != line:
            return None
    return found


def _number(given: ResolvedFile, origin: Origin) -> int:
    """Return the number that the reader of a file gives to the row that a person names.

    Raises:
        FtctlError: The line holds several rows or none; or the row needs the other notation.
    """
    label = given.file.label
    if label.is_indexed == origin.is_indexed:
        return origin.line
    if origin.is_indexed:
        raise FtctlError(
            f"rows of {label.display_path} are called by their line, not by an index",
            f"Write the line: {label.display_path}:{origin.line}",
        )
    # A row's last line is where the next row begins.
    lines = [item.line for item in json_array.items(given.file)]
    first, last = bisect_left(lines, origin.line), bisect_right(lines, origin.line)
    if last - first > 1:
        raise FtctlError(
            f"line {origin.line} of {label.display_path} holds {last - first} rows",
            f"Name one of them: {label.of_row(first + 1)} to {label.of_row(last)}",
        )
    # The last row's end is unknown, so only its start counts.
    return last + (first == last == len(lines))


def failed_conditions(given: ResolvedFile, row: TracedRow) -> Sequence[str]:
    """Return the conditions of a source that a row does not meet."""
    conditions = Conditions(given.source.where, file_format=given.file.format, is_table=False)
    return conditions.failed_conditions(row.values or {})


def explain(dataset: Dataset, given: Sequence[ResolvedFile], origin: Origin) -> RowOutcome | None:
    """Return what became of a row; None when there is no such line.

    Args:
        dataset: Built from the sources.
        given: The files of its sources.
        origin: Of the row.
    """
    for one in given:
        if one.file.display_path != origin.file:
            continue
        row = find_row(one, _number(one, origin))
        if row is None:
            continue
        start = Origin(origin.file, row.starts, one.file.label.is_indexed)
        reasons = find_reasons(dataset.report.reasons, start)
        places = find_places(dataset, start)
        if not places and all(step == "read" for step, _ in reasons):
            reasons += tuple(("where", f"{text} is not so") for text in failed_conditions(one, row))
        if not places and not reasons and one.source.limit is not None:
            reasons = (("limit", f"beyond the first {one.source.limit}"),)
        return RowOutcome(origin=start, row=row, places=places, reasons=reasons)
    return None
