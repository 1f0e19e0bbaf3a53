"""Secrets in texts: the service writes none, whatever a library or a server puts into a message."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

MASK = "***"
_IN_URL = re.compile(r"(?<=://)[^\s/'\"]*@")
"""User and password of a URL."""
_NAMES_SECRET = re.compile(
    r"token|secret|passw|key|credential|(?:^|_)(?:pat|auth|authorization)(?:_|$)", re.IGNORECASE
)
_SHORTEST = 8
"""Characters of the shortest value that is taken for a secret: `true` is part of many words."""
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~")
"""Bytes that stand in an address as they are."""


def _percent(text: str, plain: bytes = b"", blank: str = "%20") -> str:
    """Return a text as addresses write it."""
    written = (
        chr(byte) if byte in _PLAIN or byte in plain else f"%{byte:02X}"
        for byte in text.encode(errors="surrogateescape")
    )
    return "".join(written).replace("%20", blank)


_FORMS: Final[tuple[Callable[[str], str], ...]] = (
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: json.dumps(text)[1:-1],
    lambda text: repr(text)[1:-1],
    _percent,
    lambda text: _percent(text, plain=b"/"),
    lambda text: _percent(text, blank="+"),
)
"""Ways in which a message, a log or an address quotes a text."""


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of variables that hold secrets by their names, the longest first.

    Each as it is, line by line, and as JSON, Python and addresses write it: a library may quote it.
    """
    parts = {
        part
        for name, value in environment.items()
        if _NAMES_SECRET.search(name)
        for part in (value, *map(str.strip, (value, *value.splitlines())))
        if len(part) >= _SHORTEST
    }
    quoted = {write(part) for part in parts for write in _FORMS}
    # A message that quotes a secret is quoted itself, in a line of JSON.
    found = {*parts, *quoted, *(write(part) for part in quoted for write in _FORMS)}
    return tuple(sorted(found, key=len, reverse=True))


def masked(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Return a text without the secrets in it and without user and password of every URL."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return _IN_URL.sub(f"{MASK}@", text)
