"""Announced ends of models. Part of the contract."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NOT_SET: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownNotice:
    """Announcement of the end of one model."""

    source: str
    """Source of the date, for people: `shutdown_date of default (https://…)`."""
    date: str | None = None
    """Day on which the service switches the model off, `YYYY-MM-DD`; None if none is announced."""
    wrong: str = ""
    """Text that the source gives in place of a date, shortened; empty for a date, or nothing."""
    gone: bool = False
    """True if the service is sure that it does not have the model any more."""


def is_day(text: object) -> bool:
    """Return whether a value is a day on which a service can end, `YYYY-MM-DD`.

    0001-01-01 and 1970-01-01 are what servers write for a time that is not set.
    """
    if not isinstance(text, str) or _DAY.fullmatch(text) is None:
        return False
    try:
        return date.fromisoformat(text) > _NOT_SET
    except ValueError:
        return False
