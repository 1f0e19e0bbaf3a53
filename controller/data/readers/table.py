"""Read CSV and TSV: a header, then a row a record, quoted as in the wild."""

import csv
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain

from controller.data.files import Row, SourceFile
from controller.data.nearest import listing, quoted
from controller.data.readers.opened import bounded_lines, open_text
from controller.data.unusable import Unusable

MAX_FIELD = 16 << 20
"""Characters of one field. A quote that is never closed would swallow the file otherwise."""

DELIMITERS = ",;\t|"
"""What may part the fields of a .csv; the first one wins where two are equally often."""


def read(source: SourceFile) -> Iterator[Row]:
    """Yield the rows of a table, each with the line that it starts on."""
    # Line ends stay as they are: they may be part of a quoted cell.
    with open_text(source, newline="") as text:
        lines = bounded_lines(text, source)
        delimiter = source.source.delimiter or ("\t" if source.kind == "tsv" else "")
        if not delimiter:
            head = list(_header_lines(lines))
            delimiter = _delimiter("".join(head))
            lines = chain(head, lines)
        yield from _rows(lines, delimiter)


def header(cells: Sequence[str]) -> list[str]:
    """Return the names of the columns.

    Raises:
        Unusable: Two have the same.
    """
    names = [unicodedata.normalize("NFC", cell.strip()) for cell in cells]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise Unusable(
            f"the header names {listing(map(quoted, twice))} more than once",
            "Give every column a name of its own.",
        )
    return names


def wrong_width(count: int, names: Sequence[str]) -> Unusable:
    """Return what is said of a row with more or fewer fields than the header."""
    return Unusable(
        f"has {count} field{'s'[: count != 1]}; the header has {len(names)}",
        "Put a field that contains the separator in quotes, or fill the missing ones.",
    )


def _rows(lines: Iterator[str], delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    names: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, _not_csv(error)
            return
        if not cells:
            continue
        if not names:
            try:
                names = header(cells)
            except Unusable as error:
                yield line, error
                return
        elif len(cells) == len(names):
            yield line, dict(zip(names, cells, strict=True))
        else:
            yield line, wrong_width(len(cells), names)


def _header_lines(lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines of the first record; a quoted name may go over several."""
    quotes, length = 0, 0
    for line in lines:
        yield line
        quotes += line.count('"')
        length += len(line)
        if (quotes % 2 == 0 and not line.isspace()) or length > MAX_FIELD:
            return


def _delimiter(head: str) -> str:
    # Every second part stands in quotes; a doubled quote parts off nothing.
    outside = "".join(head.split('"')[::2])
    return max(DELIMITERS, key=outside.count)


def _not_csv(error: csv.Error) -> Unusable:
    if "field larger" in str(error):
        return Unusable(
            f"a field is longer than {MAX_FIELD:,} characters",
            "Close the quote that was opened in this line.",
        )
    return Unusable(
        f"not a CSV record: {error}",
        'Put the whole field in quotes, and write a quote inside it twice: "".',
    )
