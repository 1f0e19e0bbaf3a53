"""Names and values from data in messages. Pure."""

from collections.abc import Collection, Iterable

from backends.did_you_mean import did_you_mean

SHOWN = 12
"""Maximum number of names in a message."""
LONGEST = 60
"""Maximum characters of a name or value in a message."""


def choice(name: str, names: Collection[str]) -> str:
    """Return the remedy for a name that does not exist: what is meant, and what exists."""
    return f"{did_you_mean(name, names)} Use one of: {join_names(names)}.".lstrip()


def quote(value: object) -> str:
    """Return a value from data in quotes: short, on one line, without control characters."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def join_names(names: Iterable[str]) -> str:
    """Return the names with commas between them, cut after the first dozen."""
    every = [name if name.isprintable() and len(name) <= LONGEST else quote(name) for name in names]
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more
