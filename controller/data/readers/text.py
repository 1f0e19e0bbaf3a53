"""Read plain text and Markdown: documents, paragraphs, lines, or pieces of a given length."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal, TextIO

from controller.data.errors import DataError
from controller.data.readers.disguise import HEAD, refuse_disguised
from controller.data.readers.open_file import bounded_lines, open_text
from controller.data.sources.source_file import CHUNK, NumberedRow, SourceFile

# Places where a text may be cut, from the best to the worst. A match ends before the blanks.
_PARAGRAPH = re.compile(r"(?<=\S)(?=[ \t]*\n[ \t]*\n)")
# \u201d and \u2019 close a quotation, \uff01 and \uff1f are the wide ! and ?
_SIGNS = "[.!?…]++[\"'\u201d\u2019)\\]」』]*+(?=\\s)"
_SIGNS_HERE = re.compile(_SIGNS)
# A run of signs matches only from its first sign; from every sign it would take quadratic time.
_SENTENCE = re.compile(
    f"(?<![.!?…]){_SIGNS}|[。\uff01\uff1f]+[\"'\u201d\u2019)\\]」』]*|(?<=\\S)(?=[ \\t]*\\n)"
)
_WORD = re.compile(r"(?<=\S)(?=\s)")
_BLANKS = re.compile(r"\s*")

_AHEAD = 4
"""Characters after a piece that decide whether it may end there."""

_FENCE = re.compile(r"\s{0,3}(```|~~~)")
_JOINER = "\u200d"


def read(source: SourceFile) -> Iterator[NumberedRow]:
    """Yield the pieces of a text, each with the line on which it starts.

    Raises:
        DataError: The file has another format, and the spec does not declare it as text.
    """
    if source.source.format is None:
        with open_text(source) as text:
            refuse_disguised(text.read(HEAD), source.format)
    with open_text(source) as text:
        yield from pieces(text, source)


def pieces(text: TextIO, source: SourceFile) -> Iterator[NumberedRow]:
    """Yield a row for each piece, as the source's `chunk` says."""
    chunk = source.source.chunk
    if chunk == "paragraph" and source.format == "html":
        # The main text of a page has one paragraph a line.
        chunk = "line"
    if chunk == "document":
        yield from _document(text, source)
    elif isinstance(chunk, int):
        yield from _cut(text, chunk)
    else:
        yield from _gathered(text, source, chunk)


def _document(text: TextIO, source: SourceFile) -> Iterator[NumberedRow]:
    whole = text.read(source.MAX_ROW + 1)
    if len(whole) > source.MAX_ROW:
        error = source.too_long("the document")
        raise DataError(error.message, "Cut it into rows: chunk: paragraph, or chunk: 4000")
    if not whole.isspace():
        yield 1, {"text": whole.strip()}


def _gathered(
    text: TextIO, source: SourceFile, chunk: Literal["paragraph", "line"]
) -> Iterator[NumberedRow]:
    kept: list[str] = []
    start, length, fence = 1, 0, ""
    for number, line in enumerate(bounded_lines(text, source), start=1):
        if source.format == "markdown" and chunk == "paragraph":
            # A blank line in a block of code does not end a paragraph.
            fence = _fence_after(line, fence)
        if not line.isspace():
            start = start if kept else number
            kept.append(line)
            length += len(line)
        elif kept and fence:
            kept.append(line)
        if kept and not fence and (line.isspace() or chunk == "line"):
            yield start, {"text": "".join(kept).rstrip()}
            kept, length = [], 0
        if length > source.MAX_ROW:
            error = source.too_long("the paragraph")
            error.line = start
            raise error
    if kept:
        yield start, {"text": "".join(kept).rstrip()}


def _fence_after(line: str, fence: str) -> str:
    mark = _FENCE.match(line)
    if mark is None:
        return fence
    if not fence:
        return mark[1]
    return "" if mark[1] == fence else fence


def _cut(text: TextIO, most: int) -> Iterator[NumberedRow]:
    held, at, line, ended = "", 0, 1, False
    while True:
        blanks = _BLANKS.match(held, at)
        start = blanks.end() if blanks else at
        line += held.count("\n", at, start)
        at = start
        if not ended and len(held) - at < most + _AHEAD:
            more = text.read(max(CHUNK, most))
            held, at, ended = held[at:] + more, 0, not more
            continue
        if at == len(held):
            return
        end = len(held) if len(held) - at <= most else border(held, at, most)
        yield line, {"text": held[at:end].rstrip()}
        line += held.count("\n", at, end)
        at = end


def border(text: str, start: int, most: int) -> int:
    """Return the end of a piece of at most `most` characters that begins at `start`.

    It is the end of a paragraph or sentence if that leaves the piece at least half full; else of
    the last word, or of the last whole letter in a text without blanks.
    """
    last = start + most
    half = start + most // 2
    for pattern, least in (
        (_PARAGRAPH, half),
        (_SENTENCE, half),
        (_WORD, half),
        (_WORD, start + 1),
    ):
        # From one character before, to find a sign that ends exactly there.
        where = (text, least - 1, last + _AHEAD)
        inside = _SIGNS_HERE.match(*where) if pattern is _SENTENCE else None
        found = [*filter(None, [inside]), *pattern.finditer(*where)]
        fitting = [end for match in found if least <= (end := match.end()) <= last]
        if fitting:
            return fitting[-1]
    end = last
    while end > start + 1 and not _separates_letters(text[end - 1], text[end]):
        end -= 1
    return end if end > start + 1 else last


def _separates_letters(before: str, after: str) -> bool:
    """Return whether a reader sees two letters here, and not two parts of one letter."""
    if _JOINER in (before, after) or unicodedata.category(after).startswith("M"):
        return False
    if "\U0001f3fb" <= after <= "\U0001f3ff":  # skin colour
        return False
    if all("\U0001f1e6" <= one <= "\U0001f1ff" for one in (before, after)):  # flag
        return False
    # Decomposed Hangul: a vowel or a final consonant belongs to the letter before it.
    return not ("\u1160" <= after <= "\u11ff" or "\ud7b0" <= after <= "\ud7ff")
