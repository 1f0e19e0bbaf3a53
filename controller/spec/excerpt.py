"""Foreign text as it appears in a message: quoted, on one line, and never whole when it is long."""

SHOWN = 60
"""Most characters of a value that a message repeats."""


def excerpt(text: str, length: int = SHOWN) -> str:
    """Return a text in quotes, control characters escaped, the end of a long one left out.

    Args:
        text: Written by anybody, of any length.
        length: Most characters that are shown.
    """
    # Cut before it is quoted: the text may be as long as its file.
    quoted = repr(text[: length + 1])
    if len(text) <= length and len(quoted) <= length + 2:
        return quoted
    return f"{quoted[: length - 1]}…{quoted[0]}"


def clipped(text: str, length: int = SHOWN) -> str:
    """Return a text without quotes, the end of a long one left out."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
