"""Read one sheet of a workbook (xlsx, xls, ods) by calamine."""

import re
import zipfile
import zlib
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import IO
from xml.parsers import expat

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
)

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.lookup import is_same_name
from controller.data.readers.csv_table import (
    check_header,
    doubtful_header,
    header,
    no_header,
    numbered,
)
from controller.data.readers.json_values import as_json
from controller.data.sources.source_file import CHUNK, Noted, NumberedRow, SourceFile
from controller.data.suggestions import choice, quote

MAX_UNPACKED = 1 << 30
"""Maximum bytes of all parts of a workbook; a sheet of a million full rows has some 300 million."""

MAX_CELLS = 32_000_000
"""Maximum cells of the rectangle around a sheet's contents; all of them are in memory."""

_PLACE = re.compile(rb"""\sr\s*=\s*["']([A-Z]*)([0-9]+)["']""")
"""Place of a cell or row: `r="AB12"`."""
_OVERLAP = 64
"""Bytes to search again: a place may be split over two chunks."""

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
_TITLES = 50
"""Number of rows in which to search for the column names."""
_SAVE = "Save it as .xlsx, or as .csv."


def read(file: SourceFile) -> Iterator[NumberedRow]:
    """Yield the rows of a sheet, each with its number in the sheet.

    Raises:
        DataError: It is not a workbook, or it is locked; there is no such sheet; two columns have
            the same name.
    """
    source = file.source
    _check(file.path)
    try:
        with CalamineWorkbook.from_path(file.path) as book:
            sheet = book.get_sheet_by_name(_name(book, source.sheet))
            check_header((map(str, cells) for cells in sheet.iter_rows()), source)
            yield from _rows(sheet, source.header)
    except PasswordError:
        raise DataError(
            "the workbook is locked with a password", "Save it without one.", whole=True
        ) from None
    except CalamineError as error:
        raise _unreadable(error) from None
    except BaseException as error:
        # Calamine panics at some damaged .xls files; the class cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise _unreadable(error) from None


def _unreadable(error: BaseException) -> DataError:
    return DataError(f"not a workbook that can be read: {error}", _SAVE, whole=True)


def _check(path: Path) -> None:
    """Refuse a workbook that would not fit into memory, or on which calamine would not end.

    One stray cell far away is enough for the former, XML that is cut off for the latter.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as parts:
            size = sum(part.file_size for part in parts.infolist())
            if size > MAX_UNPACKED:
                raise DataError(
                    f"the workbook unpacks to {size:,} bytes; at most {MAX_UNPACKED:,} are read",
                    "Save the sheet as .csv.",
                    whole=True,
                )
            for name in parts.namelist():
                if name.endswith((".xml", ".rels")):
                    with parts.open(name) as part:
                        _check_part(part)
    except (*_ZIP_ERRORS, expat.ExpatError) as error:
        raise _unreadable(error) from None


def _check_part(part: IO[bytes]) -> None:
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_doctype
    rows, columns, rest = {1}, {b"A"}, b""
    while chunk := part.read(CHUNK):
        parser.Parse(chunk)
        places = _PLACE.findall(rest + chunk)
        rows.update(map(int, {row for _, row in places}))
        columns.update({column for column, _ in places if column})
        rest = chunk[-_OVERLAP:]
        if max(rows) * max(map(_number, columns)) > MAX_CELLS:
            farthest = max(columns, key=_number).decode()
            raise DataError(
                f"a sheet reaches to column {farthest} and row {max(rows):,}, too many cells",
                "Delete the cells far from the table, or save the sheet as .csv.",
                whole=True,
            )
        rows, columns = {max(rows)}, {max(columns, key=_number)}
    parser.Parse(b"", True)  # noqa: FBT003 - expat takes no keyword


def _refuse_doctype(*_: object) -> None:
    # It could define entities that grow without end; no program writes one.
    raise expat.ExpatError("it has a document type")


def _number(column: bytes) -> int:
    """Return the number of a column: 1 for A, 27 for AA."""
    return reduce(lambda number, letter: number * 26 + letter - ord("A") + 1, column, 0)


def _name(book: CalamineWorkbook, sheet: str | None) -> str:
    names: list[str] = [
        each.name for each in book.sheets_metadata if each.typ == SheetTypeEnum.WorkSheet
    ]
    # A literal name takes precedence over another Unicode composition of it.
    if sheet in names:
        return sheet
    fitting = [name for name in names if sheet is None or is_same_name(name, sheet)]
    if fitting:
        return fitting[0]
    raise DataError(
        f"there is no sheet {quote(sheet)}" if names else "the workbook has no sheet",
        choice(sheet or "", names) if names else _SAVE,
        field="sheet",
    )


def _rows(sheet: CalamineSheet, wanted: int | str) -> Iterator[NumberedRow]:
    names: list[str] = []
    note = ""
    unnamed: set[int] = set()
    for number, cells in enumerate(sheet.iter_rows(), start=1):
        is_empty = all(cell == "" for cell in cells)
        if not names:
            if is_empty or (wanted != "none" and number < int(wanted)):
                continue
            names = numbered(len(cells))
            if wanted != "none":
                names = header([str(cell) for cell in cells])
                note = doubtful_header(names, number)
                unnamed = {at for at, name in enumerate(names) if not name}
                continue
        # A cell below an empty name is a note beside the table.
        row = {name: _value(cell) for name, cell in zip(names, cells, strict=True) if name}
        beside = [at + 1 for at in sorted(unnamed) if cells[at] != ""]
        if beside:
            unnamed.clear()
            note = f"column {beside[0]} has no name; its cells are not read"
        if any(cell != "" for cell in row.values()):
            yield number, Noted(row, note) if note else row
            note = ""
    if not names and wanted not in (1, "none"):
        raise no_header(wanted)


def _value(cell: object) -> Json:
    # Workbooks store 3 as 3.0.
    return int(cell) if isinstance(cell, float) and cell.is_integer() else as_json(cell)
