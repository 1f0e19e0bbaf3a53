"""Read an HTML page: its main text by trafilatura, or the rows of its tables by selectolax."""

import io
from collections.abc import Iterator

import trafilatura
from selectolax.lexbor import LexborHTMLParser, LexborNode

from backends.base import Json
from controller.data.files import Row, SourceFile
from controller.data.readers.opened import open_text
from controller.data.readers.prose import pieces
from controller.data.readers.table import header, wrong_width
from controller.data.unusable import Unusable

_MAX_SPAN = 1_000
"""Rows or columns that one cell may cover, as in browsers."""


def read(source: SourceFile) -> Iterator[Row]:
    """Yield what the source's `extract` asks for, each with its number.

    Raises:
        Unusable: The page is too long, or has none of it.
    """
    with open_text(source) as file:
        page = file.read(source.MAX_ROW + 1)
    if len(page) > source.MAX_ROW:
        raise source.too_long("the page")
    yield from _tables(page) if source.source.extract == "tables" else _text(page, source)


def _text(page: str, source: SourceFile) -> Iterator[Row]:
    document = trafilatura.bare_extraction(page, include_comments=False)
    tree = LexborHTMLParser(page)
    text = (document.text if document else "") or _all_text(tree)
    if not text:
        raise Unusable("the page has no text", "Leave it out.")
    title = tree.css_first("title")
    also: dict[str, Json] = {"title": _one_line(title.text())} if title else {}
    for number, (_, row) in enumerate(pieces(io.StringIO(text), source), start=1):
        yield number, row if isinstance(row, Unusable) else {**also, **row}


def _all_text(tree: LexborHTMLParser) -> str:
    """Return what is left of a page too small to tell its main text from the rest."""
    tree.strip_tags(["script", "style", "noscript", "template"])
    return tree.body.text(separator="\n", strip=True) if tree.body else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _tables(page: str) -> Iterator[Row]:
    tree = LexborHTMLParser(page)
    for line_end in tree.css("table br"):
        line_end.replace_with("\n")
    for block in tree.css("table :is(p, div, li)"):
        block.insert_after("\n")
    number = 0
    for table in tree.css("table"):
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
        raise Unusable(
            "the page has no table with a header and rows",
            "Mark the names of the columns as <th>, or write extract: text",
        )


def _grid(table: LexborNode) -> Iterator[tuple[bool, list[str]]]:
    """Yield the rows of a table, cells that cover several in each of them; which is a header?"""
    covered: dict[int, tuple[int, str]] = {}
    for row in _rows(table):
        cells = [cell for cell in row.iter() if cell.tag in ("td", "th")]
        texts: list[str] = []
        for cell in cells:
            _fill(texts, covered)
            text = "\n".join(filter(None, map(_one_line, cell.text().splitlines())))
            rows = _span(cell, "rowspan")
            for _ in range(_span(cell, "colspan")):
                if rows > 1:
                    covered[len(texts)] = (rows, text)
                texts.append(text)
        _fill(texts, covered)
        covered = {at: (rows - 1, text) for at, (rows, text) in covered.items() if rows > 1}
        is_header = bool(cells) and all(cell.tag == "th" for cell in cells)
        yield is_header or (row.parent is not None and row.parent.tag == "thead"), texts


def _fill(texts: list[str], covered: dict[int, tuple[int, str]]) -> None:
    """Add what cells of the rows above put next."""
    while len(texts) in covered:
        texts.append(covered[len(texts)][1])


def _rows(table: LexborNode) -> Iterator[LexborNode]:
    """Yield a table's own rows, not those of a table inside it."""
    for part in table.iter():
        if part.tag == "tr":
            yield part
        elif part.tag in ("thead", "tbody", "tfoot"):
            yield from (row for row in part.iter() if row.tag == "tr")


def _span(cell: LexborNode, name: str) -> int:
    written = (cell.attributes.get(name) or "").strip()
    return max(1, min(int(written), _MAX_SPAN)) if written.isdecimal() else 1
