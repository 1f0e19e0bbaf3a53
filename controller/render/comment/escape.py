"""Text that anybody may have written, as part of GitHub's Markdown. Pure.

A comment is parsed twice: by a Markdown parser, and then by filters that turn `@team`, `#12`,
`GH-12`, commit hashes and `:tada:` in text into links and pictures. Escaping with a backslash stops
only the parser. What is inside a code span or a code block is left alone by both, so every word that
is not plain goes there; and it is copied from there without a stray character.
"""

import html
import re
from collections.abc import Callable

from controller.render.text import escape_control, one_line

_OPENING, _CLOSING = "(\"'“", ")\"'”.,;:!?…"
_PLAIN = re.compile(
    r"[^\W\d_]+(?:['-][^\W\d_]+)*"  # words, held-out
    r"|\$?\d{1,6}(?:[.,]\d{1,6})*%?"  # numbers, prices
    r"|\d{4}-\d\d-\d\d"  # days
)
_SIGNED = re.compile(r"([-+±~])(\d{1,6}(?:,\d{3})*)")
_LINKED = re.compile(r"\b[0-9a-f]{7,}\b|www", re.IGNORECASE)
"""A word of seven digits or more may be a commit; `www.` may begin an address."""
_IN_TICKS = re.compile(r"([(\"']*)`(?!\s*`)([^`]+)`([)\"'.,;:!?]*)")
_SPACED = re.compile(r"""(?<![^ ])[("']*`[^`]+`[)"'.,;:!?]*(?![^ ])|[^ ]+""")
"""Words between blanks; what a sentence has in code is one word."""
_SIGNS = {
    **{sign: sign for sign in ("·", "±", "—", "→", "»", "/", "%")},
    **{sign: html.escape(sign) for sign in ("<", ">", "<=", ">=")},
    **{
        sign: f"&#{ord(sign[0])};" * len(sign) for sign in ("-", "+", "=", "==", "~", ".", "!", "?")
    },
    "->": "→",
}
"""Words without a letter that mean something, and how they are written."""


def code(text: str, width: int | None = None) -> str:
    """Return text as a code span.

    Args:
        text: Anything; line ends become blanks.
        width: Maximum width in terminal cells; None for any.
    """
    flat = _flat(text, width)
    if not flat:
        return "-"
    fence = "`" * (1 + max(map(len, re.findall("`+", flat)), default=0))
    # The parser strips a blank on both sides; a backtick must not touch the fence.
    pad = " " if "`" in {flat[0], flat[-1]} else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def prose(text: str, width: int | None = None) -> str:
    """Return a sentence: plain words as they are, all others in code spans.

    Args:
        text: Anything; line ends become blanks.
        width: Maximum width in terminal cells; None for any.
    """
    return _sentence(_flat(text, width), code)


def cell(text: str) -> str:
    """Return a sentence as `prose`, for a table."""
    return without_pipes(prose(text))


def without_pipes(markdown: str) -> str:
    """Return Markdown of one line for a table. A pipe would end the cell, in a code span too."""
    return markdown.replace("|", "\\|")


def html_code(text: str, width: int | None = None) -> str:
    """Return text as `<code>` for a line of HTML, such as a summary: GitHub links nothing there."""
    escaped = "".join(
        char if char.isalnum() or char == " " else f"&#{ord(char)};" for char in _flat(text, width)
    )
    return f"<code>{escaped}</code>"


def html_prose(text: str) -> str:
    """Return a sentence as `prose`, for a line of HTML."""
    return _sentence(_flat(text, None), html_code)


def fenced(text: str, language: str) -> str:
    """Return lines as a block of code that nothing in them can close."""
    shown = escape_control(text)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence}{language}\n{shown}\n{fence}"


def length(text: str) -> int:
    """Return the number of characters as GitHub counts them for its limit: UTF-16 units."""
    return len(text) + sum(char > "\uffff" for char in text)


def _flat(text: str, width: int | None) -> str:
    return one_line(text, width) if width else " ".join(escape_control(text).split())


def _sentence(flat: str, coded: Callable[[str], str]) -> str:
    words = enumerate(_SPACED.findall(flat))
    return " ".join(_word(word, coded, is_first=at == 0) for at, word in words)


def _word(word: str, coded: Callable[[str], str], *, is_first: bool) -> str:
    if word in _SIGNS:
        return _SIGNS[word]
    ticked = _IN_TICKS.fullmatch(word)
    if ticked is not None:
        return f"{ticked[1]}{coded(ticked[2])}{ticked[3]}"
    rest = word.lstrip(_OPENING)
    core = rest.rstrip(_CLOSING)
    opening, closing = word[: len(word) - len(rest)], rest[len(core) :]
    if not core:
        return word
    begins_list = is_first and core.isdigit() and closing[:1] in {".", ")"}
    is_plain = _PLAIN.fullmatch(core) and not _LINKED.search(core) and not begins_list
    signed = _SIGNED.fullmatch(core)
    if signed is not None:
        shown = f"&#{ord(signed[1])};{signed[2]}"
    else:
        shown = core if is_plain else coded(core)
    return f"{opening}{shown}{closing}"
