"""Read one sheet of a workbook (xlsx, xls, ods) by calamine."""

import zipfile
from collections.abc import Iterator

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
)

from backends.base import Json
from controller.data.files import Row, SourceFile
from controller.data.nearest import did_you_mean, listing, quoted
from controller.data.readers.table import header
from controller.data.readers.values import as_json
from controller.data.unusable import Unusable

MAX_UNPACKED = 1 << 30
"""Bytes of all parts of a workbook. The sheet of a million full rows has a few hundred million."""

_SAVE = "Save it as .xlsx, or as .csv."


def read(source: SourceFile) -> Iterator[Row]:
    """Yield the rows of a sheet, each with its number in the sheet.

    Raises:
        Unusable: It is no workbook, or a locked one; there is no such sheet; two columns have one
            name.
    """
    _check_size(source)
    try:
        with CalamineWorkbook.from_path(source.path) as book:
            sheet = book.get_sheet_by_name(_name(book, source.source.sheet))
            yield from _rows(sheet)
    except PasswordError:
        raise Unusable("the workbook is locked with a password", "Save it without one.") from None
    except CalamineError as error:
        raise Unusable(f"not a workbook that can be read: {error}", _SAVE) from None


def _check_size(source: SourceFile) -> None:
    if not zipfile.is_zipfile(source.path):
        return
    try:
        with zipfile.ZipFile(source.path) as parts:
            size = sum(part.file_size for part in parts.infolist())
    except zipfile.BadZipFile as error:
        raise Unusable(f"not a workbook that can be read: {error}", _SAVE) from None
    if size > MAX_UNPACKED:
        raise Unusable(
            f"the workbook unpacks to {size:,} bytes; at most {MAX_UNPACKED:,} are read",
            "Save the sheet as .csv.",
        )


def _name(book: CalamineWorkbook, asked: str | None) -> str:
    names: list[str] = [
        one.name for one in book.sheets_metadata if one.typ == SheetTypeEnum.WorkSheet
    ]
    wanted = names[:1] if asked is None else [name for name in names if name == asked]
    if wanted:
        return wanted[0]
    raise Unusable(
        f"there is no sheet {quoted(asked)}" if names else "the workbook has no sheet",
        f"{did_you_mean(asked or '', names)}The sheets are: {listing(names)}" if names else _SAVE,
        field="sheet",
    )


def _rows(sheet: CalamineSheet) -> Iterator[Row]:
    names: list[str] = []
    for number, cells in enumerate(sheet.iter_rows(), start=1):
        if not names:
            if any(cell != "" for cell in cells):
                names = header([str(cell) for cell in cells])
            continue
        # A cell under no name belongs to no column: a note beside the table.
        row = {name: _value(cell) for name, cell in zip(names, cells, strict=True) if name}
        if any(cell != "" for cell in row.values()):
            yield number, row


def _value(cell: object) -> Json:
    # A workbook has no whole numbers: 3 is 3.0 in it.
    return int(cell) if isinstance(cell, float) and cell.is_integer() else as_json(cell)
