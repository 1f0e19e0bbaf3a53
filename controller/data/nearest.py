"""The nearest of some names, for remedies. Pure."""

import difflib
from collections.abc import Iterable

SHOWN = 12
"""More names than this do not help a reader."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return `Did you mean 'x'? `, or nothing when no name is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"Did you mean {near[0]!r}? " if near else ""


def listing(names: Iterable[str]) -> str:
    """Return the names with commas between them, cut after the first dozen."""
    every = list(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more
