"""Foreign text for a message: quoted, on one line, and shortened if it is long."""

from collections.abc import Iterable

SHOWN = 60
"""Maximum characters of a value in a message."""
_KEY_SHOWN = 80


def excerpt(text: str, length: int = SHOWN) -> str:
    """Return a text in quotes, with control characters escaped and the end of a long text cut.

    Args:
        text: Any text, of any length.
        length: Maximum number of characters to show.
    """
    # Cut before quoting: the text may be as long as its file.
    quoted = repr(text[: length + 1])
    if len(text) <= length and len(quoted) <= length + 2:
        return quoted
    return f"{quoted[: length - 1]}…{quoted[0]}"


def clipped(text: str, length: int = SHOWN) -> str:
    """Return a text without quotes, with the end of a long text cut."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def printable(text: str) -> str:
    """Return a name from a file, its control characters escaped: a terminal would obey them."""
    return text if text.isprintable() else repr(text)[1:-1]


def dotted(path: Iterable[str | int]) -> str:
    """Return a path as people write it: `data.train[0].path`.

    Control characters in keys are escaped, and long keys are cut.
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + printable(clipped(part, _KEY_SHOWN))
    return text
