"""Secrets in texts: the service writes none, whatever a library or a server puts into a message."""

import re
from collections.abc import Mapping

MASK = "***"
_IN_URL = re.compile(r"(?<=://)[^\s/'\"]*@")
"""User and password of a URL."""
_NAMES_SECRET = re.compile(r"token|secret|passw|key|credential", re.IGNORECASE)
_SHORTEST = 8
"""Characters of the shortest value that is taken for a secret: `true` is part of many words."""


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of variables that hold secrets by their names, the longest first."""
    found = {
        value
        for name, value in environment.items()
        if _NAMES_SECRET.search(name) and len(value) >= _SHORTEST
    }
    return tuple(sorted(found, key=len, reverse=True))


def masked(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Return a text without the secrets in it and without user and password of every URL."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return _IN_URL.sub(f"{MASK}@", text)
