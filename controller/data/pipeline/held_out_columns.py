"""Values of a row that travel beside its held-out example: for groups, slices and tracing.

A worker reads the values of each row that may be held out, as text in the spelling that conditions
of `where` compare. The build writes the values of the held-out examples, one JSON object a line,
and reports the examples without a value. The examples themselves stay as they are.
"""

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backends.contract.inspector import Json
from controller.canonical import canonical_json
from controller.data.errors import DataError, PersonalDataFound
from controller.data.lookup import Row, find_value, without_nulls
from controller.data.pipeline.row_conditions import CELLS, MAX_KEYS
from controller.data.sources.source_file import SourceFile
from controller.data.storage.hashing_writer import HashingWriter, WrittenFile
from controller.data.suggestions import choice, quote
from controller.data.transforms.normalise import normal_text
from controller.data.transforms.pii.apply import PiiPolicy
from controller.spec.base import MOST
from controller.spec.data import Data, FileFormat
from controller.spec.where import spelt

COLUMNS = "held_out.columns"
"""Name of the file with the values."""

_TEXTS: frozenset[FileFormat] = frozenset({"text", "markdown"})
_WORDS = frozenset({"true", "false"})


@dataclass(slots=True)
class ColumnTally:
    """Values in the columns of rows that may be held out."""

    rows: int = 0
    found: set[str] = field(default_factory=set)
    """Columns that at least one row has."""
    keys: dict[str, None] = field(default_factory=dict)
    """Keys of rows without one of the columns."""
    nested: dict[str, int] = field(default_factory=dict)
    """First line with an object or an array, by column."""
    personal: Counter[str] = field(default_factory=Counter)
    """Number of values with personal data that the spec only warns of, by column."""

    def add(self, other: "ColumnTally") -> None:
        """Add what later rows have."""
        self.rows += other.rows
        self.found |= other.found
        self.keys.update(other.keys)
        self.nested = other.nested | self.nested
        self.personal.update(other.personal)


def may_be_held_out(file: SourceFile, data: Data) -> bool:
    """Return True if rows of a file may be held out."""
    return file.split == "held_out" or data.fraction is not None


class RowColumns:
    """Reads the columns of the rows of one file."""

    def __init__(
        self, columns: Mapping[str, str], file: SourceFile, pii: PiiPolicy | None, *, warns: bool
    ) -> None:
        """Prepare to read rows.

        Args:
            columns: The field of the spec that names each column, by column.
            file: The file of the rows.
            pii: Finds personal data; None if the spec does not ask for it.
            warns: True if personal data is counted, and not refused.
        """
        # In order, so that equal values are equal bytes.
        self._columns = dict(sorted(columns.items()))
        self._is_cell = file.format in CELLS
        self._from_arrow = file.from_arrow
        self._pii = pii
        self._warns = warns
        self._tally = ColumnTally()

    @property
    def names(self) -> frozenset[str]:
        """Keys of a row that are read: whole names and, for paths, the outermost key."""
        names = {part for name in self._columns for part in (name, name.partition(".")[0])}
        return frozenset([*names, *(unicodedata.normalize("NFD", name) for name in names)])

    def take_tally(self) -> ColumnTally:
        """Return the counts and reset them."""
        tally, self._tally = self._tally, ColumnTally()
        return tally

    def values_of(self, row: Row, number: int) -> dict[str, str]:
        """Return a row's values by column; `number` is the row's line.

        Raises:
            PersonalDataFound: A value holds personal data, which the spec does not let through.
        """
        if self._from_arrow:
            row = without_nulls(row)
        tally, values = self._tally, dict[str, str]()
        tally.rows += 1
        for name in self._columns:
            found, value = find_value(row, name)
            if not found:
                if len(tally.keys) < MAX_KEYS:
                    tally.keys.update(dict.fromkeys(row))
                continue
            tally.found.add(name)
            if isinstance(value, dict | list):
                tally.nested.setdefault(name, number)
                continue
            values[name] = value_text(value, is_cell=self._is_cell)
        # After all columns, so that the tally knows each column that the row has.
        if self._pii is not None:
            for name, text in values.items():
                self._check(self._pii, name, text)
        return values

    def _check(self, pii: PiiPolicy, name: str, text: str) -> None:
        found = pii.findings_in(text, name)
        if found and self._warns:
            self._tally.personal[name] += 1
        elif found:
            # A masked value would join the groups of different people; a hash can be reversed.
            raise PersonalDataFound(
                f"column {quote(name)}, which {self._columns[name]} names, holds personal data: "
                f"{found}",
                "Name a column without it, such as a customer's number in your own system, or set "
                "data.prepare.pii: warn",
            )


def value_text(value: Json, *, is_cell: bool) -> str:
    """Return a row's value as text, so that values that `where` calls equal are mostly equal.

    Args:
        value: Not an object or an array.
        is_cell: True for a table without nulls and types: an empty cell is null, TRUE is true.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < MOST:
        # A column of numbers with empty cells is one of floats: 17.0 and 17 are one customer.
        return str(int(value))
    if not isinstance(value, str):
        return spelt(value)
    if is_cell and not value:
        return spelt(None)
    if is_cell and (word := value.strip().lower()) in _WORDS:
        return word
    return normal_text(value)


def refuse_columns(
    columns: Mapping[str, str], files: Sequence[SourceFile], tallies: Sequence[ColumnTally]
) -> Iterator[DataError]:
    """Yield an error for each column that no row has, or that holds objects or arrays.

    Args:
        columns: The field of the spec that names each column, by column.
        files: Files whose rows may be held out.
        tallies: What the rows of each of the files have.
    """
    whole = ColumnTally()
    for tally in tallies:
        whole.add(tally)
    if not whole.rows:
        return
    for column, field_ in columns.items():
        if column not in whole.found:
            yield _missing(column, field_, files, whole)
            continue
        for file, tally in zip(files, tallies, strict=True):
            if (line := tally.nested.get(column)) is not None:
                yield DataError(
                    f"{quote(column)} of {file.label.of_row(line)} is an object or an array, which "
                    "is not a value to compare",
                    f"Name a key in it, such as {column}.id, or another column.",
                    field=field_,
                )
                break


def _missing(
    column: str, field_: str, files: Sequence[SourceFile], tally: ColumnTally
) -> DataError:
    if all(file.format in _TEXTS or _is_page(file) for file in files):
        return DataError(
            f"{quote(column)} is not there: the held-out rows are plain texts, without columns",
            "Remove it, or give the texts as JSONL: "
            f'{{"text": "...", {json.dumps(column, ensure_ascii=False)}: "..."}}',
            field=field_,
        )
    return DataError(
        f"no row that may be held out has {quote(column)}", choice(column, tally.keys), field=field_
    )


def _is_page(file: SourceFile) -> bool:
    return file.format == "html" and file.source.extract == "text"


def remarks_on_personal_data(tallies: Sequence[ColumnTally]) -> Iterator[str]:
    """Yield a sentence for each column with personal data that the spec only warns of."""
    counts = sum((tally.personal for tally in tallies), Counter[str]())
    for column, count in sorted(counts.items()):
        yield (
            f"{quote(column)}: {count:,} value{'s'[: count != 1]} with personal data, which the "
            "files of the evaluation show"
        )


class ColumnsWriter:
    """Writes the values of the held-out examples, in their order."""

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        """Prepare to write a file.

        Args:
            path: The file.
            columns: The columns.
        """
        self._writer = HashingWriter(path)
        self._digests = {column: hashlib.sha256() for column in sorted(columns)}
        self._lacking: Counter[str] = Counter()
        self._first: dict[str, tuple[int, int]] = {}

    def add(self, lines: Sequence[bytes], source: int, numbers: Sequence[int]) -> None:
        """Add the values of examples of one source, with the line of each row."""
        self._writer.add(b"".join(lines), len(lines))
        for line, number in zip(lines, numbers, strict=True):
            values = json.loads(line)
            for column, digest in self._digests.items():
                value = values.get(column)
                digest.update(canonical_json(value) + b"\n")
                if value is None:
                    self._lacking[column] += 1
                    self._first.setdefault(column, (source, number))

    def finish(self) -> WrittenFile:
        """Complete the file."""
        return self._writer.finish()

    def close(self) -> None:
        """Close the file, finished or not."""
        self._writer.close()

    @property
    def digests(self) -> dict[str, str]:
        """Digest of all values of each column, in the order of the examples."""
        return {column: f"sha256:{digest.hexdigest()}" for column, digest in self._digests.items()}

    def remarks(self) -> Iterator[tuple[tuple[int, int], str]]:
        """Yield the first row, as source and line, without a value of each column, and a remark."""
        for column, count in sorted(self._lacking.items()):
            remark = (
                f"{quote(column)}: {count:,} of {self._writer.lines:,} held-out examples have no "
                "value"
            )
            yield self._first[column], remark
