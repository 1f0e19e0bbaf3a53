"""Read CSV and TSV: a header, then one row per record, with quoting as found in practice.

A lone quote mark in a text may pair with another one lines later, and swallow the rows between
them. If that is certain, the row is refused; if it may be a text, the row gets a remark.
"""

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.readers.disguise import HEAD, refuse_disguised
from controller.data.readers.open_file import bounded_lines, open_text
from controller.data.sources.source_file import Noted, NumberedRow, SourceFile
from controller.data.suggestions import join_names, quote
from controller.spec.data import Source

MAX_FIELD = 16 << 20
"""Maximum characters of a field: a quote that is never closed would swallow the file."""

DELIMITERS = ",;\t|"
"""Possible delimiters of a .csv; of two equally frequent ones, the first."""

_QUOTES = {"double": '"', "single": "'", "none": None}
_DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_LINE_END = re.compile(r"\r\n?|\n")
_ROWS_OR_FIELD = "Write quote: none if these are rows, or quote: double if it is one field"
_TITLES = 50
"""Number of rows in which to search for the column names."""
_LONG_LINE = 1 << 16
"""Number of characters of a line in which to search for column names."""
_LONG_NAME = 60
"""Number of characters from which a column's name looks like a text."""


def read(source: SourceFile) -> Iterator[NumberedRow]:
    """Yield the rows of a table, each with the line that it starts on."""
    settings = source.source
    if source.info.first in "[{" and settings.format is None:
        with open_text(source) as text:
            refuse_disguised(text.read(HEAD), source.format)
    with open_text(source, newline="") as text:
        begun = iter(lambda: text.readline(_LONG_LINE), "")
        check_header((_cells(line, settings) for line in begun), settings)
    # Line ends stay as they are: they may be part of a quoted cell.
    with open_text(source, newline="") as text:
        lines = bounded_lines(text, source)
        skipped = 0 if settings.header == "none" else settings.header - 1
        if sum(1 for _ in islice(lines, skipped)) < skipped:
            raise no_header(settings.header)
        quote = _QUOTES[settings.quote]
        delimiter = settings.delimiter or ("\t" if source.format == "tsv" else "")
        if not delimiter:
            head = list(_header_lines(lines, quote))
            delimiter = _delimiter("".join(head), quote)
            lines = chain(head, lines)
        table = _Table(
            delimiter=delimiter,
            quote=quote,
            is_sure="quote" in settings.model_fields_set,
            has_header=settings.header != "none",
            line=skipped,
        )
        yield from table.rows(lines)


def header(cells: Sequence[str]) -> list[str]:
    """Return the names of the columns."""
    names = [unicodedata.normalize("NFC", cell.strip()) for cell in cells]
    twice = sorted(name for name, count in Counter(names).items() if name and count > 1)
    if twice:
        raise DataError(
            f"the header names {join_names(map(quote, twice))} more than once",
            "Give every column its own name, or write header: none if there is no header",
        )
    return names


def numbered(count: int) -> list[str]:
    """Return the names of the columns of a table that has no header."""
    return [str(number) for number in range(1, count + 1)]


def check_header(rows: Iterable[Iterable[str]], source: Source) -> None:
    """Refuse a table with a title above the row of column names."""
    if source.columns is None or "header" in source.model_fields_set:
        return
    required = {unicodedata.normalize("NFC", name) for name in source.columns.names()}
    first = 0
    for number, cells in enumerate(islice(rows, _TITLES), start=1):
        names = {unicodedata.normalize("NFC", cell.strip()) for cell in cells}
        if required <= names:
            if first:
                raise DataError(
                    f"row {first} is read as the names of the columns, which are in row {number}",
                    f"Write header: {number}",
                    field="header",
                )
            return
        first = first or (number if names - {""} else 0)


def no_header(wanted: int | str) -> DataError:
    """Return the error for a table that ends before its header."""
    return DataError(
        f"there is no row {wanted}, which should name the columns",
        "Write the number of the row with the names of the columns: header: 2",
        whole=True,
    )


def doubtful_header(names: Sequence[str], row: int) -> str:
    """Return the remark on names that look like values; empty for other names."""
    doubtful = [name for name in names if _is_number(name) or len(name) > _LONG_NAME]
    if not doubtful:
        return ""
    return (
        f"row {row} names the columns, among them {join_names(map(quote, doubtful))}; "
        "if it is data, write header: none"
    )


def wrong_width(count: int, names: Sequence[str]) -> DataError:
    """Return the error for a row with more or fewer fields than the header."""
    remedy = "Put a field that contains the separator in quotes, or fill the missing ones."
    if len(names) == 1 < count:
        remedy += " If the names of the columns are further down, write header: 2"
    return DataError(f"has {count} field{'s'[: count != 1]}; the header has {len(names)}", remedy)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(slots=True, kw_only=True)
class _Table:
    """A table during reading."""

    delimiter: str
    quote: str | None
    is_sure: bool
    """True if the spec sets the quote mark."""
    has_header: bool
    line: int
    """Number of lines before the lines to read."""
    names: list[str] = field(default_factory=list)
    note: str = ""
    """Remark on the first row."""

    def rows(self, lines: Iterator[str]) -> Iterator[NumberedRow]:
        csv.field_size_limit(MAX_FIELD)
        reader = csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            strict=True,
        )
        while True:
            before = reader.line_num
            line = self.line + before + 1
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                yield line, self._not_csv(error)
                return
            if not cells:
                continue
            try:
                if not self.names and self._takes_names(cells, line):
                    continue
                yield line, self._row(cells, reader.line_num - before)
            except DataError as error:
                yield line, error
                if not self.names:
                    return
        if not self.names and self.line:
            raise no_header(self.line + 1)

    def _takes_names(self, cells: list[str], line: int) -> bool:
        if not self.has_header:
            self.names = numbered(len(cells))
            return False
        names = header(cells)
        if names.count("") > 1:
            # With equal names, all but the last of these columns would be lost.
            names = header([name or f"column {at}" for at, name in enumerate(names, start=1)])
        self.names = names
        self.note = doubtful_header(self.names, line)
        return True

    def _row(self, cells: list[str], lines: int) -> Mapping[str, Json]:
        note, self.note = self.note, ""
        if lines > 1 and (swallowed := self._swallowed(cells)):
            if self.is_sure or self.delimiter == ",":
                note = note or f"{swallowed}; if these are rows, write quote: none"
            else:
                raise DataError(swallowed, _ROWS_OR_FIELD)
        if len(cells) != len(self.names):
            raise wrong_width(len(cells), self.names)
        row: dict[str, Json] = dict(zip(self.names, cells, strict=True))
        return Noted(row, note) if note else row

    def _swallowed(self, cells: list[str]) -> str:
        """Return the error for a field of several lines that looks like rows; empty for others."""
        last = len(self.names) - 1
        for at, cell in enumerate(cells):
            counts = [piece.count(self.delimiter) for piece in _LINE_END.split(cell)]
            if len(counts) == 1 or not any(counts):
                continue
            # If rows were swallowed, the first piece holds the rest of the first row's fields, the
            # last piece the beginning of the last row's, and all others are whole rows.
            fits = counts == [last - at, *[last] * (len(counts) - 2), at]
            # Commas and semicolons are common in texts; tabs and bars are rare.
            if fits or self.delimiter not in ",;":
                name = quote(self.names[at]) if at <= last else str(at + 1)
                return (
                    f"the field {name} begins with a quote mark, goes over {len(counts)} lines "
                    f"and holds {_DELIMITER_NAMES.get(self.delimiter, 'separators')}, as rows do"
                )
        return ""

    def _not_csv(self, error: csv.Error) -> DataError:
        if "field larger" in str(error):
            return DataError(
                f"a field is longer than {MAX_FIELD:,} characters",
                "Close the quote that was opened in this line, or read quote marks as text: "
                "quote: none",
            )
        if self.quote is None:
            return DataError(f"not a record: {error}", "Write the record on one line.")
        mark = self.quote
        return DataError(
            f"not a CSV record: {error}",
            f"Put the whole field in quotes, and write a quote inside it twice: {mark}{mark}. "
            "A file whose quote marks are text is read with quote: none",
        )


def _header_lines(lines: Iterator[str], quote: str | None) -> Iterator[str]:
    """Yield the lines of the first record; a quoted name may go over several."""
    quotes, length = 0, 0
    for line in lines:
        yield line
        quotes += line.count(quote) if quote else 0
        length += len(line)
        if (quotes % 2 == 0 and not line.isspace()) or length > MAX_FIELD:
            return


def _cells(line: str, source: Source) -> Iterator[str]:
    """Yield the cells of a line, split by the source's delimiter or by every known delimiter."""
    for delimiter in (source.delimiter,) if source.delimiter else DELIMITERS:
        for cell in line.strip("\r\n").split(delimiter):
            yield cell.strip().strip(_QUOTES[source.quote] or "")


def _delimiter(head: str, quote: str | None) -> str:
    # Every second piece is quoted; a doubled quote leaves the parity unchanged.
    outside = "".join(head.split(quote)[::2]) if quote else head
    return max(DELIMITERS, key=outside.count)
