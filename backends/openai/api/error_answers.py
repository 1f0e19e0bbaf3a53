"""Parsing of servers' error answers: messages in the body, pauses in the headers."""

import json
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def said_in(body: object) -> object:
    """Return the message of an error body, in the protocol's form or in another usual form."""
    if isinstance(body, str):
        return body
    given = body if isinstance(body, Mapping) else {}
    for key in ("message", "detail", "error_description", "title", "error"):
        value = given.get(key)
        if isinstance(value, str) and value:
            return value
        if value:
            return json.dumps(value, ensure_ascii=False)
    return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the pause that a server requests: in milliseconds, in seconds, or until a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            seconds = float(text) * unit
        except ValueError:
            try:
                seconds = max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
            except (ValueError, OverflowError):
                continue
        if 0 <= seconds < math.inf:
            return seconds
    return None
