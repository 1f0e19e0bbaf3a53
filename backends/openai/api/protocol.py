"""Objects of the protocol, and the two ways in which a call fails.

Either the server rejected the call, and nothing happened there, or the outcome is unknown. The
promise never to pay twice depends on this difference.

Exceptions::

    Rejected         a definite no: 4xx, without 408 and 409
    OutcomeUnknown   no clear answer: 408, 409, 5xx, a dropped connection, not JSON
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, TypeAlias

Body: TypeAlias = Mapping[str, Any]
"""A JSON object as a server sent it, unchecked."""

_NOT_FOUND: Final = 404
_GRPC_NOT_FOUND: Final = "5"
"""Code of a missing resource at services behind a gRPC gateway."""
SHOWN: Final = 500
"""Characters of a server's text that a person is shown."""
_YEAR_10000: Final = 253_402_300_800
"""The first second that no calendar has, since 1970."""
_PURSE: Final = frozenset(
    {
        *("insufficient_quota", "exceeded_quota", "billing_hard_limit_reached"),
        *("billing_not_active", "insufficient_credits", "payment_required"),
    }
)
"""Codes for an account without credit; waiting does not help."""
_PAYMENT_REQUIRED: Final = 402
_TOO_MANY: Final = 429
_KEYS: Final = re.compile(
    r"\b(?:sk|rk|pk|gsk|hf|nvapi|tgp_v1|fw)[-_][A-Za-z0-9_-]{12,}"
    r"|\b[Bb]earer +[A-Za-z0-9._~+/=-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]{12,}(?:\.[A-Za-z0-9_-]*)*"
)
"""Keys and tokens in texts: gateways repeat the keys of the servers behind them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """The cause of a failed call, where more is known than the server's message."""

    what: str
    """Problem of the server, a clause: `is hidden by a login page`."""
    remedy: str
    """The next step for a person."""


@dataclass(eq=False)
class Rejected(Exception):
    """The server refused the request and created nothing."""

    status: int
    message: str
    """The server's message, cleaned for people."""
    _: KW_ONLY
    code: str = ""
    """The protocol's error code, or empty."""
    param: str = ""
    """The request field that the error is about, or empty."""
    retry_after_s: float | None = None
    """Seconds to wait before the next attempt, if the server names a pause."""
    is_api_error: bool = True
    """True if the answer had the protocol's error body."""
    cause: Cause | None = None
    """The cause, where another program than the API answered."""

    def __str__(self) -> str:
        return self.message

    @property
    def is_purse_empty(self) -> bool:
        """True if the account has no credit, whatever the status."""
        is_quota = "current quota" in self.message and self.retry_after_s is None
        if self.status == _TOO_MANY:
            return self.code in _PURSE or is_quota
        return self.status == _PAYMENT_REQUIRED or self.code in _PURSE

    @property
    def must_slow_down(self) -> bool:
        """True if waiting helps: too many requests, but the account has credit."""
        return self.status == _TOO_MANY and not self.is_purse_empty

    @property
    def is_missing(self) -> bool:
        """True if the server lacks the job, file or model, and not just the address."""
        of_address = self.message.lower().startswith(("invalid url", "resource not found"))
        is_sure = self.code == _GRPC_NOT_FOUND or not of_address
        return self.status == _NOT_FOUND and self.is_api_error and is_sure


@dataclass(eq=False)
class OutcomeUnknown(Exception):
    """It is not known what the server did."""

    reason: str
    """The observed failure, for people."""
    _: KW_ONLY
    sent: bool = True
    """True if the request may have reached the server."""
    retry_after_s: float | None = None
    """Seconds to wait before the next attempt, if the server names a pause."""
    may_pass: bool = True
    """True if a later retry may succeed."""
    cause: Cause | None = None
    """The cause, where it is known."""

    def __str__(self) -> str:
        return self.reason


def clean(text: object, secret: str = "") -> str:
    """Return a server's text for people: one short line, without control codes and keys."""
    shown = str(text)
    if secret:
        shown = shown.replace(secret, "***")
    shown = _KEYS.sub("***", shown[: 8 * SHOWN])
    shown = " ".join("".join(c if c.isprintable() else " " for c in shown[: 4 * SHOWN]).split())
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"


NOT_THE_API: Final = Cause(
    what="does not speak the OpenAI API there",
    remedy="Check `base_url`: it usually ends in /v1, at Azure in /openai/v1/.",
)


def objects(page: Body) -> Sequence[Body]:
    """Return the objects of a list answer.

    Raises:
        OutcomeUnknown: The answer is not a list.
    """
    data = page.get("data")
    if not isinstance(data, list):
        raise OutcomeUnknown("the answer is not a list", cause=NOT_THE_API)
    return [item for item in data if isinstance(item, Mapping)]


def read_pages(fetch: Callable[[str | None], Body], limit: int) -> Iterator[Body]:
    """Yield the objects of a list, page by page.

    Args:
        fetch: Returns the page after a cursor; None is the first page.
        limit: Objects in a full page. A full page that does not say `has_more` has a next page.

    Raises:
        OutcomeUnknown: A page is not a list.
    """
    cursors: set[str] = set()
    cursor: str | None = None
    while True:
        page = fetch(cursor)
        yield from objects(page)
        cursor = next_cursor(page, limit)
        # A server that repeats a cursor would be read for ever.
        if cursor is None or cursor in cursors:
            return
        cursors.add(cursor)


def next_cursor(page: Body, limit: int) -> str | None:
    """Return the cursor of the next page; None if this page is the last. See `read_pages`."""
    if "next_cursor" in page:
        return text_of(page["next_cursor"]) or None
    data, more = objects(page), page.get("has_more")
    is_last = len(data) < limit if more is None else not more
    return None if is_last or not data else str(data[-1].get("id") or "") or None


def mapping_in(body: object, *keys: str) -> Body:
    """Return the object below some keys, from the outermost on; empty if there is no object."""
    for key in keys:
        body = body.get(key) if isinstance(body, Mapping) else None
    return body if isinstance(body, Mapping) else {}


def number(value: object) -> float | None:
    """Return a finite number, which may be written as text; None for other values."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def time_of(value: object) -> float | None:
    """Return a time in seconds since 1970 that a calendar has; None for other values."""
    found = number(value)
    return found if found is not None and 0 <= found < _YEAR_10000 else None


def text_of(value: object) -> str:
    """Return a text; empty for other values."""
    return value if isinstance(value, str) else ""


def name_in(value: object) -> str:
    """Return a text that can be written and sent again; empty for other values.

    JSON can hold half a character, as an escape sequence; no file and no URL can.
    """
    text = text_of(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return ""
    return text
