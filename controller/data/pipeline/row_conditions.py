"""Choose rows by the conditions of a source, and count the rows without a value for a condition.

In: rows. Out: True for each row that meets every condition, and a `Tally` for the report: a key
that no row has is a typing error, and a row with a text where the condition compares a number is
left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.lookup import find_value, leads_into
from controller.data.recipes import FIRST, NEWEST
from controller.data.suggestions import choice, quote
from controller.spec.data import FileFormat
from controller.spec.where import Condition, parse_where

CELLS: frozenset[FileFormat] = frozenset({"csv", "tsv", "excel", "html"})
"""Formats without null; except for workbooks, also without true and numbers."""

MAX_KEYS = 100
"""Maximum number of keys of rows to remember for a message."""


@dataclass(slots=True, kw_only=True)
class Count:
    """Number of rows without a value for a condition."""

    rows: int = 0
    lacking: int = 0
    """Rows without the key."""
    first_lacking: int = 0
    uncomparable: int = 0
    """Rows without a number where the condition compares numbers."""
    first_uncomparable: int = 0

    def add(self, other: "Count") -> None:
        """Add the counts of later rows."""
        self.rows += other.rows
        self.first_lacking = self.first_lacking or other.first_lacking
        self.lacking += other.lacking
        self.first_uncomparable = self.first_uncomparable or other.first_uncomparable
        self.uncomparable += other.uncomparable


@dataclass(slots=True)
class Tally:
    """Counts of all conditions of a source, and the keys of rows that lack a condition's key."""

    counts: list[Count]
    keys: dict[str, None]

    def add(self, other: "Tally") -> None:
        """Add the counts of later rows."""
        for mine, others in zip(self.counts, other.counts, strict=True):
            mine.add(others)
        self.keys.update(other.keys)


class Conditions:
    """The conditions of one source."""

    def __init__(
        self, where: Sequence[str], *, file_format: FileFormat, is_table: bool, recipe: int = NEWEST
    ) -> None:
        """Parse conditions.

        Args:
            where: Conditions as written in the spec.
            file_format: The file's format.
            is_table: True if every row must have the columns that conditions name.
            recipe: Version of the conversion from row to example; see `recipes`.
        """
        self._conditions = [parse_where(text) for text in where]
        self._is_table = is_table
        self._is_cell = file_format in CELLS
        self._is_first_recipe = recipe == FIRST
        self.tally = self.new_tally()

    def __bool__(self) -> bool:
        """Return True if there are any conditions."""
        return bool(self._conditions)

    @property
    def names(self) -> frozenset[str]:
        """Keys that conditions name: as written and, for paths into objects, the outermost key."""
        written = [condition.column for condition in self._conditions]
        return frozenset([*written, *(name.partition(".")[0] for name in written)])

    def meet(self, row: Mapping[str, Json], number: int) -> bool:
        """Return True if a row meets every condition; `number` is its line.

        Raises:
            DataError: A table has no such column.
        """
        return not any(self._failed(row, number))

    def failed(self, row: Mapping[str, Json]) -> list[str]:
        """Return the conditions that a row does not meet."""
        failed = self._failed(row, 0)
        pairs = zip(self._conditions, failed, strict=True)
        return [condition.text for condition, has_failed in pairs if has_failed]

    def take_tally(self) -> Tally:
        """Return the counts and reset them."""
        tally, self.tally = self.tally, self.new_tally()
        return tally

    def new_tally(self) -> Tally:
        """Return empty counts."""
        return Tally([Count() for _ in self._conditions], {})

    def _failed(self, row: Mapping[str, Json], number: int) -> list[bool]:
        # Evaluate all conditions, since the key of each is counted.
        counts = zip(self._conditions, self.tally.counts, strict=True)
        return [not self._holds(condition, count, row, number) for condition, count in counts]

    def _holds(
        self, condition: Condition, count: Count, row: Mapping[str, Json], number: int
    ) -> bool:
        # Hot path: nearly every row has the key as written.
        column = condition.column
        found, value = True, row.get(column)
        if value is None and column not in row:
            found = False
            if not self._is_first_recipe:
                found, value = find_value(row, column)
        count.rows += 1
        if not found:
            self._note_lacking(column, count, row, number)
        if self._is_first_recipe:
            is_met = condition.holds(value)
        else:
            is_met = condition.means(value, is_cell=self._is_cell)
        if found and not is_met and condition.is_order and not condition.compares(value):
            count.uncomparable += 1
            count.first_uncomparable = count.first_uncomparable or number
        return is_met

    def _note_lacking(
        self, column: str, count: Count, row: Mapping[str, Json], number: int
    ) -> None:
        if self._is_table and not leads_into(row, column):
            raise DataError(
                f"there is no column {quote(column)}",
                choice(column, row),
                field="where",
            )
        count.lacking += 1
        count.first_lacking = count.first_lacking or number
        if len(self.tally.keys) < MAX_KEYS:
            self.tally.keys.update(dict.fromkeys(row))


def refuse_unknown(where: Sequence[str], tally: Tally) -> None:
    """Refuse a condition on a key that no row has, or on numbers if no row has a number."""
    for text, count in zip(where, tally.counts, strict=True):
        column = parse_where(text).column
        if not count.rows:
            continue
        if count.lacking == count.rows:
            raise DataError(
                f"{quote(text)}: no row has {quote(column)}",
                choice(column, tally.keys),
                field="where",
            )
        if count.lacking + count.uncomparable == count.rows:
            raise DataError(
                f"{quote(text)}: no row has a number in {quote(column)}",
                "Compare with == or in, or name a column of numbers.",
                field="where",
            )


def remarks(where: Sequence[str], tally: Tally) -> Iterator[tuple[int, str]]:
    """Yield remarks on conditions, each with the first line that it concerns."""
    for text, count in zip(where, tally.counts, strict=True):
        condition = parse_where(text)
        column, rows = quote(condition.column), f"of {count.rows:,} rows have"
        if count.lacking:
            end = "kept" if condition.holds(None) else "left out"
            remark = f"{quote(text)}: {count.lacking:,} {rows} no {column} and are {end}"
            yield count.first_lacking, remark
        if count.uncomparable:
            remark = f"{count.uncomparable:,} {rows} no number in {column} and are left out"
            yield count.first_uncomparable, f"{quote(text)}: {remark}"
