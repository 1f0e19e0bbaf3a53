"""Text that anybody may have written, as part of GitHub's Markdown. Pure.

A comment is parsed twice: by a Markdown parser, and then by filters that turn `@team`, `#12`,
`GH-12`, commit hashes and `:tada:` in text into links and pictures. Escaping with a backslash stops
only the parser. What is inside a code span or a code block is left alone by both, so every word that
is not plain goes there; and it is copied from there without a stray character.
"""

import html
import re

from controller.render.text import escape_control, one_line

_OPENING, _CLOSING = "(\"'“", ")\"'”.,;:!?…"
_PLAIN = re.compile(
    r"[^\W\d_]+(?:['-][^\W\d_]+)*"  # words, held-out
    r"|\$?\d{1,6}(?:[.,]\d{1,6})*%?"  # numbers, prices
    r"|\d{4}-\d\d-\d\d"  # days
)
_SIGNED = re.compile(r"([-+±~])(\d{1,6}(?:,\d{3})*)")
_LINKED = re.compile(r"[0-9a-f]{7}|\Awww", re.IGNORECASE)
"""Seven digits or more may be a commit; `www.` begins an address."""
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
    words = _flat(text, width).split(" ")
    return " ".join(_word(word, is_first=at == 0) for at, word in enumerate(words))


def cell(markdown: str) -> str:
    """Return Markdown of one line for a table. A pipe would end the cell, in a code span too."""
    return markdown.replace("|", "\\|")


def html_code(text: str, width: int) -> str:
    """Return text as `<code>` for a line of HTML, such as a summary: GitHub links nothing there."""
    escaped = "".join(
        char if char.isalnum() or char == " " else f"&#{ord(char)};"
        for char in one_line(text, width)
    )
    return f"<code>{escaped}</code>"


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


def _word(word: str, *, is_first: bool) -> str:
    if word in _SIGNS:
        return _SIGNS[word]
    rest = word.lstrip(_OPENING)
    core = rest.rstrip(_CLOSING)
    opening, closing = word[: len(word) - len(rest)], rest[len(core) :]
    return f"{opening}{_core(core, is_first=is_first)}{closing}" if core else word


def _core(core: str, *, is_first: bool) -> str:
    """Return a word without punctuation around it."""
    if _LINKED.search(core) or (is_first and core[0].isdigit()):  # `1.` begins a list
        return code(core)
    signed = _SIGNED.fullmatch(core)
    if signed is not None:
        return f"&#{ord(signed[1])};{signed[2]}"
    return core if _PLAIN.fullmatch(core) else code(core)
