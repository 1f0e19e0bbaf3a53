"""Names that come from data, as they may stand in a message; and the nearest of some. Pure."""

import difflib
from collections.abc import Iterable

SHOWN = 12
"""More names than this do not help a reader."""


LONGEST = 60
"""Characters of a name or value from data that are shown."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return `Did you mean 'x'? `, or nothing when no name is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"Did you mean {quote(near[0])}? " if near else ""


def quote(value: object) -> str:
    """Return a value from data in quotes: short, on one line, without control characters."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def join_names(names: Iterable[str]) -> str:
    """Return the names with commas between them, cut after the first dozen."""
    every = [name if name.isprintable() and len(name) <= LONGEST else quote(name) for name in names]
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more
