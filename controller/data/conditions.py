"""Choose rows by the conditions of a source, and count the rows that a condition has no value for.

In: rows. Out: whether each meets every condition, and a `Tally` of what a person should know: a key
that no row has is a typing error, and a text where a number is compared is left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from backends.base import Json
from controller.data.lookup import find_value
from controller.data.nearest import did_you_mean, listing, quoted
from controller.data.recipes import FIRST, NEWEST
from controller.data.unusable import Unusable
from controller.spec.data import Kind
from controller.spec.where import Condition, parse_where

_CELLS: frozenset[Kind] = frozenset({"csv", "tsv", "excel", "html"})
"""Formats that know neither null nor, but for workbooks, true and numbers."""

_SEEN_KEYS = 100


@dataclass(slots=True, kw_only=True)
class Count:
    """For how many rows a condition has no value."""

    rows: int = 0
    lacking: int = 0
    """Rows without the key."""
    first_lacking: int = 0
    uncomparable: int = 0
    """Rows that hold no number where one is compared."""
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
    """The counts of all conditions of a source, and the keys that rows have."""

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
        self, where: Sequence[str], *, kind: Kind, is_table: bool, recipe: int = NEWEST
    ) -> None:
        """Parse conditions.

        Args:
            where: As the spec says.
            kind: The file's format.
            is_table: Whether a column that a condition names must be in every row.
            recipe: Version of what a row becomes; see `recipes`.
        """
        self._conditions = [parse_where(text) for text in where]
        self._is_table = is_table
        self._is_cell = kind in _CELLS
        self._is_first_recipe = recipe == FIRST
        self.tally = self.new_tally()

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._conditions)

    @property
    def names(self) -> frozenset[str]:
        """The keys that conditions are about, as written and, within objects, the outermost."""
        written = [one.column for one in self._conditions]
        return frozenset([*written, *(name.partition(".")[0] for name in written)])

    def meet(self, row: Mapping[str, Json], number: int) -> bool:
        """Return whether a row meets every condition, and count what it has no value for.

        Args:
            row: The row.
            number: Its line or number.

        Raises:
            Unusable: A table has no such column.
        """
        return not any(self._unmet(row, number))

    def unmet(self, row: Mapping[str, Json]) -> list[str]:
        """Return the conditions that a row does not meet."""
        fails = self._unmet(row, 0)
        return [one.text for one, failed in zip(self._conditions, fails, strict=True) if failed]

    def add(self, tally: Tally | None) -> None:
        """Add what others counted, if they did."""
        if tally is not None:
            self.tally.add(tally)

    def take_tally(self) -> Tally:
        """Return what was counted, and count from nothing on."""
        tally, self.tally = self.tally, self.new_tally()
        return tally

    def new_tally(self) -> Tally:
        """Return counts of nothing."""
        return Tally([Count() for _ in self._conditions], {})

    def _unmet(self, row: Mapping[str, Json], number: int) -> list[bool]:
        # All of them, since each one's key is counted.
        counts = zip(self._conditions, self.tally.counts, strict=True)
        if len(self.tally.keys) < _SEEN_KEYS:
            self.tally.keys.update(dict.fromkeys(row))
        return [not self._holds(one, count, row, number) for one, count in counts]

    def _holds(
        self, condition: Condition, count: Count, row: Mapping[str, Json], number: int
    ) -> bool:
        count.rows += 1
        if self._is_first_recipe:
            found, value = condition.column in row, row.get(condition.column)
        else:
            found, value = find_value(row, condition.column)
        if not found:
            if self._is_table and not _leads_into(row, condition.column):
                raise Unusable(
                    f"there is no column {quoted(condition.column)}",
                    f"{did_you_mean(condition.column, row)}The columns are: {listing(row)}",
                    field="where",
                )
            count.lacking += 1
            count.first_lacking = count.first_lacking or number
        elif condition.is_order and not condition.compares(value):
            count.uncomparable += 1
            count.first_uncomparable = count.first_uncomparable or number
        if self._is_first_recipe:
            return condition.holds(value)
        return condition.means(value, is_cell=self._is_cell)


def _leads_into(row: Mapping[str, Json], column: str) -> bool:
    """Return whether a column holds the objects that a dotted name leads into."""
    parts = column.split(".")
    return any(find_value(row, ".".join(parts[:at]))[0] for at in range(1, len(parts)))


def refuse_unknown(where: Sequence[str], tally: Tally) -> None:
    """Refuse a condition on a key that no row has, or on numbers where no row has one.

    Raises:
        Unusable: There is one.
    """
    for text, count in zip(where, tally.counts, strict=True):
        condition = parse_where(text)
        column = condition.column
        if not count.rows:
            continue
        if count.lacking == count.rows:
            known = listing(tally.keys)
            raise Unusable(
                f"{quoted(text)}: no row has {quoted(column)}",
                f"{did_you_mean(column, tally.keys)}There are: {known}",
                field="where",
            )
        if count.lacking + count.uncomparable == count.rows:
            raise Unusable(
                f"{quoted(text)}: no row has a number in {quoted(column)}",
                "Compare with == or in, or name a column of numbers.",
                field="where",
            )


def remarks(where: Sequence[str], tally: Tally) -> Iterator[tuple[int, str]]:
    """Yield what a person should know of conditions, each with the first line it concerns."""
    for text, count in zip(where, tally.counts, strict=True):
        condition = parse_where(text)
        column, rows = quoted(condition.column), f"of {count.rows:,} rows have"
        if count.lacking:
            end = "kept" if condition.holds(None) else "left out"
            remark = f"{quoted(text)}: {count.lacking:,} {rows} no {column} and are {end}"
            yield count.first_lacking, remark
        if count.uncomparable:
            wanting = f"{count.uncomparable:,} {rows} no number in {column} and are left out"
            yield count.first_uncomparable, f"{quoted(text)}: {wanting}"
