"""Workbooks: their values as JSON, and what is said of files that are none."""

import datetime as dt
import struct
import unicodedata
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from controller.data.errors import DataError
from controller.data.readers import excel, read_rows
from controller.data.sources.inspect_file import inspect_file
from controller.data.sources.source_file import SourceFile
from controller.spec.data import Source

WHEN = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC).replace(tzinfo=None)


def source_file(path: Path, **said) -> SourceFile:
    return SourceFile(
        path=path,
        display_path=path.name,
        format="excel",
        info=inspect_file(path, path.parent / "looks", file_format="excel"),
        source=Source.model_validate({"path": path.name, **said}),
    )


def read(path: Path, **said) -> list:
    return [
        (line, row.message if isinstance(row, DataError) else row)
        for line, row in read_rows(source_file(path, **said))
    ]


def book(path: Path, **sheets: list[list]) -> Path:
    return write_xlsx(path, sheets)


def test_values_of_a_workbook_become_json(tmp_path):
    rows = [
        [],
        [None, " 질문 ", "답", "when", None],
        [],
        [None, "줄\n바꿈", 3.0, WHEN, None],
        [None, True, 2.5, dt.date(2026, 1, 2), "a note"],
        [None, None, "0123", dt.time(3, 4)],
        [None, None, None, None, "only a note"],
    ]
    path = book(tmp_path / "a.xlsx", 첫째=rows, 둘째=[["q"], ["다른"]])
    assert read(path) == [
        (4, {"질문": "줄\n바꿈", "답": 3, "when": "2026-01-02T03:04:05"}),
        (5, {"질문": True, "답": 2.5, "when": "2026-01-02"}),
        (6, {"질문": "", "답": "0123", "when": "03:04:00"}),
    ]
    assert read(path, sheet="둘째") == [(2, {"q": "다른"})]


def test_an_open_document_is_a_workbook(tmp_path):
    rows = [["질문", "답"], ["언제?", "오늘"]]
    assert read(write_ods(tmp_path / "a.ods", "첫째", rows)) == [
        (2, {"질문": "언제?", "답": "오늘"})
    ]


def test_a_locked_workbook_is_said(tmp_path):
    path = write_locked(tmp_path / "a.xlsx")
    assert read(path) == [(1, "the workbook is locked with a password")]


def test_a_missing_sheet_names_those_that_are_there(tmp_path):
    path = book(tmp_path / "a.xlsx", 질문=[["q"]], answers=[["q"]])
    ((line, error),) = read_rows(source_file(path, sheet="answer"))
    assert (line, error.message, error.remedy, error.field) == (
        1,
        "there is no sheet 'answer'",
        "Did you mean `answers`? Use one of: 질문, answers.",
        "sheet",
    )


def test_the_header_of_a_sheet_names_columns_once(tmp_path):
    path = book(tmp_path / "a.xlsx", a=[["q", "q"], [1, 2]])
    assert read(path) == [(1, "the header names 'q' more than once")]
    assert read(book(tmp_path / "b.xlsx", a=[])) == []


@pytest.mark.parametrize("ending", ["xlsx", "xls", "ods", "xlsb"])
@pytest.mark.parametrize(
    "content",
    [
        b"no workbook",
        b"PK\x03\x04" + b"\0" * 50,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 3_000,
    ],
)
def test_a_workbook_that_is_none_is_said(tmp_path, ending, content):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(content)
    ((line, message),) = read(path)
    assert line == 1
    assert message.startswith("not a workbook that can be read: ")


def test_another_zip_and_half_a_workbook_are_said(tmp_path):
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w") as parts:
        parts.writestr("a.txt", "x")
    assert read(path)[0][1].startswith("not a workbook that can be read: ")
    whole = book(path, a=[["q"], [1]]).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert read(path)[0][1].startswith("not a workbook that can be read: ")


def test_a_workbook_that_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    path = book(tmp_path / "a.xlsx", a=[["q"], ["x" * 30_000]] * 5)
    monkeypatch.setattr(excel, "MAX_UNPACKED", 10_000)
    assert "at most 10,000 are read" in read(path)[0][1]


def test_an_old_workbook_that_was_cut_off_is_said(tmp_path):
    path = write_locked(tmp_path / "a.xls")
    whole = path.read_bytes()
    for most in (len(whole) - 100, len(whole) - 390, len(whole) // 2, 600):
        path.write_bytes(whole[:most])
        assert read(path)[0][1].startswith("not a workbook that can be read: ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # Left alone with these, calamine would look for an end that never comes.
        (b"</sheetData>", b"</\xffsheetDa"),
        (b"</sheetData></worksheet>", b""),
        (b"<sheetData>", b"<!DOCTYPE x><sheetData>"),
        (b"<worksheet", b'<!DOCTYPE w [<!ENTITY a "x">]><worksheet'),
    ],
)
def test_broken_xml_in_a_workbook_is_said(tmp_path, old, new):
    path = rewritten(book(tmp_path / "a.xlsx", a=[["q"], [1]]), old, new)
    assert read(path)[0][1].startswith("not a workbook that can be read: ")


@pytest.mark.parametrize("place", ["XFD1048576", "ZZZZZZZ1", "A99999999999999"])
def test_a_stray_cell_far_away_is_said_and_not_reached_for(tmp_path, place):
    path = book(tmp_path / "a.xlsx", a=[["q"], ["x"] * 9])
    rewritten(path, b'r="I2"', f'r = "{place}"'.encode())
    assert "a sheet reaches to column" in read(path)[0][1]


def test_a_large_sheet_is_read(tmp_path):
    rows = [["q", "a"], *([f"질문 {n}", n] for n in range(30_000))]
    assert read(book(tmp_path / "a.xlsx", a=rows))[-1] == (30_001, {"q": "질문 29999", "a": 29_999})


def rewritten(path: Path, old: bytes, new: bytes) -> Path:
    with zipfile.ZipFile(path) as parts:
        contents = {name: parts.read(name) for name in parts.namelist()}
    with zipfile.ZipFile(path, "w") as parts:
        for name, content in contents.items():
            parts.writestr(name, content.replace(old, new))
    return path


# Workbooks as their programs write them, without needing one of these programs.

_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINK = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_EPOCH = WHEN.replace(1899, 12, 30, 0, 0, 0)


def write_xlsx(path: Path, sheets: dict[str, list[list]]) -> Path:
    """Write a workbook with text, numbers, dates, times and truth values in its cells."""
    numbers = range(1, len(sheets) + 1)
    names = "".join(
        f'<sheet name="{escape(name)}" sheetId="{n}" r:id="rId{n}"/>'
        for n, name in zip(numbers, sheets, strict=True)
    )
    formats = "".join(f'<xf numFmtId="{n}" applyNumberFormat="1"/>' for n in (0, 14, 22, 20))
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/></Types>',
        "_rels/.rels": _links({"rId1": ("officeDocument", "xl/workbook.xml")}),
        "xl/workbook.xml": f'<workbook xmlns="{_SHEET}" xmlns:r="{_LINK}"><sheets>{names}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": _links(
            {f"rId{n}": ("worksheet", f"worksheets/sheet{n}.xml") for n in numbers}
            | {"rId0": ("styles", "styles.xml")}
        ),
        "xl/styles.xml": f'<styleSheet xmlns="{_SHEET}"><cellXfs count="4">{formats}</cellXfs></styleSheet>',
    }
    for n, rows in zip(numbers, sheets.values(), strict=True):
        written = "".join(_row(number, row) for number, row in enumerate(rows, start=1))
        parts[f"xl/worksheets/sheet{n}.xml"] = (
            f'<worksheet xmlns="{_SHEET}"><sheetData>{written}</sheetData></worksheet>'
        )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return path


def write_ods(path: Path, name: str, rows: list[list[str]]) -> Path:
    """Write an OpenDocument workbook with one sheet of texts."""
    cells = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{escape(cell)}</text:p></table:table-cell>'
            for cell in row
        )
        + "</table:table-row>"
        for row in rows
    )
    spaces = " ".join(
        f'xmlns:{space}="urn:oasis:names:tc:opendocument:xmlns:{space}:1.0"'
        for space in ("office", "table", "text")
    )
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        file.writestr(
            "META-INF/manifest.xml",
            '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
        )
        file.writestr(
            "content.xml",
            f"<office:document-content {spaces}><office:body><office:spreadsheet>"
            f'<table:table table:name="{name}">{cells}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )
    return path


def write_locked(path: Path) -> Path:
    """Write what a workbook with a password looks like from outside."""
    free, end, fat = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    header = struct.pack(
        "<8s16x5H6xIIIIIIIIII",
        *(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3, 0xFFFE, 9, 6),
        *(0, 1, 1, 0, 4096, end, 0, end, 0, 0),
    )
    header += struct.pack("<108I", *[free] * 108)
    table = struct.pack("<128I", fat, end, *[free] * 126)

    def entry(name: str, kind: int, child: int) -> bytes:
        spelt = name.encode("utf-16-le")
        return struct.pack(
            "<64sHBBIII16xI8x8xIQ",
            *(spelt, len(spelt) + 2 if name else 0, kind, 1, free, free, child, 0, end, 0),
        )

    folder = entry("Root Entry", 5, 1) + entry("EncryptedPackage", 2, free)
    folder += entry("", 0, free) * 2
    path.write_bytes(header + table + folder)
    return path


def _links(links: dict[str, tuple[str, str]]) -> str:
    written = "".join(
        f'<Relationship Id="{key}" Type="{_LINK}/{kind}" Target="{target}"/>'
        for key, (kind, target) in links.items()
    )
    space = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f'<Relationships xmlns="{space}">{written}</Relationships>'


def _row(number: int, cells: list) -> str:
    written = "".join(
        _cell(f"{chr(ord('A') + at)}{number}", cell)
        for at, cell in enumerate(cells)
        if cell is not None
    )
    return f'<row r="{number}">{written}</row>' if written else ""


def _cell(place: str, value: object) -> str:
    if isinstance(value, str):
        return (
            f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
        )
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, dt.datetime):
        return f'<c r="{place}" s="2"><v>{(value - _EPOCH) / dt.timedelta(days=1)}</v></c>'
    if isinstance(value, dt.date):
        return f'<c r="{place}" s="1"><v>{value.toordinal() - _EPOCH.toordinal()}</v></c>'
    if isinstance(value, dt.time):
        return f'<c r="{place}" s="3"><v>{(value.hour * 60 + value.minute) / 1440}</v></c>'
    return f'<c r="{place}"><v>{value}</v></c>'


def test_the_header_of_a_sheet_is_where_the_spec_says(tmp_path):
    rows = [["2026년 상담 기록"], [], ["q", "a"], ["질문", "답"]]
    path = book(tmp_path / "a.xlsx", 첫째=rows)
    assert read(path, header=3) == [(4, {"q": "질문", "a": "답"})]
    assert read(path, header=2) == [(4, {"q": "질문", "a": "답"})]
    assert read(book(tmp_path / "b.xlsx", 첫째=[[0, "가"], [1, "나"]]), header="none") == [
        (1, {"1": 0, "2": "가"}),
        (2, {"1": 1, "2": "나"}),
    ]
    ((_, message),) = read(path, header=9)
    assert message == "there is no row 9, which should name the columns"


def test_what_a_sheet_holds_beside_its_columns_is_noted(tmp_path):
    rows = [["q", "a", None], ["질문", "답", None], ["질문", "답", "덧붙임"], ["질문", "답", "또"]]
    found = [row for _, row in read_rows(source_file(book(tmp_path / "a.xlsx", 첫째=rows)))]
    assert [getattr(row, "note", "") for row in found] == [
        "",
        "column 3 has no name; its cells are not read",
        "",
    ]
    numbers = book(tmp_path / "b.xlsx", 첫째=[[0, "가"], [1, "나"]])
    ((_, row),) = read_rows(source_file(numbers))
    assert "header: none" in row.note


def test_a_sheet_is_found_however_its_name_is_composed(tmp_path):
    names = unicodedata.normalize("NFD", "상담"), unicodedata.normalize("NFC", "상담")
    for in_book, in_spec in (names, names[::-1]):
        path = book(tmp_path / "a.xlsx", **{"다른": [["x"], ["y"]], in_book: [["q"], ["질문"]]})
        assert read(path, sheet=in_spec) == [(2, {"q": "질문"})]


def test_a_title_above_the_table_leads_to_the_row_with_the_names(tmp_path):
    rows = [["2026년 상담 기록"], [], ["번호", "q", "a"], [1, "질문", "답"]]
    path = book(tmp_path / "a.xlsx", 첫째=rows)
    ((_, error),) = read_rows(source_file(path, columns={"user": "q", "assistant": "a"}))
    assert error.message == "row 1 is read as the names of the columns, which are in row 3"
    assert error.remedy == "Write header: 3"
    # Where they are nowhere, the missing one is named with those that are there.
    assert len(read(path, columns={"user": "x", "assistant": "a"})) == 2
