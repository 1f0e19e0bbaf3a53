"""Read an HTML page, by trafilatura: its main text, or the rows of its tables."""

import io
from collections.abc import Iterator
from typing import Any, TypeAlias

import trafilatura

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.readers.csv_table import header, wrong_width
from controller.data.readers.open_file import open_text
from controller.data.readers.text import pieces
from controller.data.sources.source_file import NumberedRow, SourceFile

_Element: TypeAlias = Any
"""Lxml has no types."""

MAX_PAGE = 8 << 20
"""Maximum characters of a page; a longer page takes a browser seconds."""

_MAX_ELEMENTS = 100_000
"""Maximum number of elements of a page: ten times that of a long article. The time to find a page's
main text grows with the square of this number."""

_MAX_CELLS = 1_000_000
"""Maximum number of additional cells covered by `rowspan` and `colspan` on a page."""

_MAX_ROW = 5_000
"""Maximum number of cells of a row, for the same reason."""

_MAX_SPAN = 1_000
"""Maximum rows or columns that one cell covers, as in browsers."""

_BEGINNING = 50
"""Characters in which trafilatura searches the word HTML."""

_NO_TEXT = ("script", "style", "noscript", "template", "title")
_BLOCKS = ("p", "div", "li")


def read(source: SourceFile) -> Iterator[NumberedRow]:
    """Yield the text or the rows of tables, as `extract` says, each with its number.

    Raises:
        DataError: The page is too long, or has no text or table.
    """
    with open_text(source) as file:
        page = file.read(MAX_PAGE + 1)
    if len(page) > MAX_PAGE:
        raise DataError(
            f"the page is longer than {MAX_PAGE >> 20} MiB", "Leave it out.", whole=True
        )
    if "html" not in page[:_BEGINNING].lower():
        page = f"<html><body>{page}</body></html>"
    tree = trafilatura.load_html(page)
    if tree is None:
        raise DataError(
            "not an HTML page", "Leave it out, or name its format: format: text", whole=True
        )
    _check_size(tree)
    yield from _tables(tree) if source.source.extract == "tables" else _text(tree, source)


def _check_size(tree: _Element) -> None:
    elements = sum(1 for _ in tree.iter())
    spans = sum(
        _span(cell, "rowspan") * _span(cell, "colspan") - 1
        for cell in tree.xpath("//*[@rowspan or @colspan]")
    )
    row = max((len(row) for row in tree.iter("tr")), default=0)
    for what, count, limit in (
        ("the page has {} elements", elements, _MAX_ELEMENTS),
        ("cells of the page cover {} others", spans, _MAX_CELLS),
        ("a row of the page has {} cells", row, _MAX_ROW),
    ):
        if count > limit:
            raise DataError(
                f"{what.format(f'{count:,}')}; at most {limit:,} are read",
                "Split the page, or leave it out.",
                whole=True,
            )


def _text(tree: _Element, source: SourceFile) -> Iterator[NumberedRow]:
    document = trafilatura.bare_extraction(tree, include_comments=False)
    text = (document.text if document else "") or _all_text(tree)
    if not text:
        raise DataError("the page has no text", "Leave it out.", whole=True)
    title = next(tree.iter("title"), None)
    also: dict[str, Json] = {}
    if title is not None:
        also["title"] = _one_line(title.text_content())
    for number, (_, row) in enumerate(pieces(io.StringIO(text), source), start=1):
        yield number, row if isinstance(row, DataError) else {**also, **row}


def _all_text(tree: _Element) -> str:
    """Return all text of a page that is too small to have a main text."""
    inside = " or ".join(f"ancestor::{name}" for name in _NO_TEXT)
    return "\n".join(filter(None, map(_one_line, tree.xpath(f"//text()[not({inside})]"))))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _tables(tree: _Element) -> Iterator[NumberedRow]:
    for part in tree.iter("br", *_BLOCKS):
        part.tail = "\n" + (part.tail or "")
        if part.tag in _BLOCKS:
            part.text = "\n" + (part.text or "")
    number = 0
    for table in tree.iter("table"):
        names: list[str] = []
        for is_header, cells in _grid(table):
            if not names:
                if not is_header:
                    break
                names = header(cells)
            elif any(cells):
                number += 1
                is_whole = len(cells) == len(names)
                yield (
                    number,
                    dict(zip(names, cells, strict=True))
                    if is_whole
                    else wrong_width(len(cells), names),
                )
    if not number:
        raise DataError(
            "the page has no table with a header and rows",
            "Mark the names of the columns as <th>, or write extract: text",
            whole=True,
        )


def _grid(table: _Element) -> Iterator[tuple[bool, list[str]]]:
    """Yield the rows of a table, and whether each is a header; a cell may cover several rows."""
    covered: dict[int, tuple[int, str]] = {}
    for row in _rows(table):
        cells = [cell for cell in row if cell.tag in ("td", "th")]
        texts: list[str] = []
        for cell in cells:
            _fill(texts, covered)
            text = "\n".join(filter(None, map(_one_line, cell.text_content().splitlines())))
            rows = _span(cell, "rowspan")
            for _ in range(_span(cell, "colspan")):
                if rows > 1:
                    covered[len(texts)] = (rows, text)
                texts.append(text)
        _fill(texts, covered)
        covered = {at: (rows - 1, text) for at, (rows, text) in covered.items() if rows > 1}
        is_header = bool(cells) and all(cell.tag == "th" for cell in cells)
        yield is_header or row.getparent().tag == "thead", texts


def _fill(texts: list[str], covered: dict[int, tuple[int, str]]) -> None:
    """Add the cells of rows above that cover the next columns."""
    while len(texts) in covered:
        texts.append(covered[len(texts)][1])


def _rows(table: _Element) -> Iterator[_Element]:
    """Yield a table's own rows, without those of a table inside it."""
    for part in table:
        if part.tag == "tr":
            yield part
        elif part.tag in ("thead", "tbody", "tfoot"):
            yield from (row for row in part if row.tag == "tr")


def _span(cell: _Element, name: str) -> int:
    written = cell.get(name, "").strip()
    return max(1, min(int(written), _MAX_SPAN)) if written.isdecimal() else 1
