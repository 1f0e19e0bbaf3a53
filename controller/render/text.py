"""Small pieces that every rendering shares."""

import re
import unicodedata
from collections.abc import Container

_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def safe(text: str) -> str:
    """Show control characters instead of sending them to a terminal.

    What stands in YAML or in data was written by anybody: an escape sequence must not move the
    cursor over a price, nor a direction mark turn a name around.
    """
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def one_line(text: str, width: int) -> str:
    """Return text on one line, cut to a width in terminal cells."""
    flat = " ".join(safe(text).split())
    if cells(flat) <= width:
        return flat
    cut = ""
    for character in flat:
        if cells(cut + character) > width - 1:
            break
        cut += character
    return cut + "…"


def cells(text: str) -> int:
    """Return how many terminal cells a text takes; Korean letters take two."""
    return sum(
        0
        if unicodedata.combining(character)
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def pad(text: str, width: int) -> str:
    """Return text followed by blanks up to a width in terminal cells."""
    return text + " " * max(0, width - cells(text))


def table(rows: list[list[str]], *, indent: str = "", right: Container[int] = ()) -> str:
    """Lay out rows in columns, the first row being the head.

    Args:
        rows: Of equally many cells.
        indent: Before every line.
        right: Columns of numbers, which end under each other.
    """
    widths = [max(cells(row[column]) for row in rows) for column in range(len(rows[0]))]

    def laid(column: int, cell: str) -> str:
        blanks = " " * (widths[column] - cells(cell))
        return blanks + cell if column in right else cell + blanks

    lines = (indent + "  ".join(laid(*one) for one in enumerate(row)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def duration(seconds: float) -> str:
    """Return a time span as people say it: `42 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {left} s"
    return f"{left} s"


def number(value: float) -> str:
    """Return a number with as many digits as people compare."""
    return f"{value:.4g}"
