"""Values of tables, databases and datasets that JSON does not have, as JSON. Pure.

The form of a value depends on neither machine nor driver:

- Dates and times become ISO 8601, moments with a time zone in UTC; lengths of time become seconds.
- A decimal without a fraction becomes a number, any other one text with all its digits: `"12.50"`.
- Bytes become text if they are UTF-8, else base64; a UUID becomes text.

Files and databases differ in two points, which stay, since datasets are recorded with them: in a
database a number has at most `_MAX_DIGITS` digits, and a value of any other type is refused.
"""

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from backends.contract.inspector import Json

_MAX_DIGITS = 18
"""Digits of a decimal that every JSON reader keeps exactly; a longer one becomes text."""


def as_json(value: object) -> Json:
    """Return a value of a file, with all values in it, as JSON."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, Decimal):
        return int(value) if value.as_tuple().exponent == 0 else format(value, "f")
    try:
        return json_form(value)
    except TypeError:
        return str(value)


def json_form(value: object) -> str | int | float:
    """Return the form of a single value of a database that JSON does not have.

    Raises:
        TypeError: The value has no form.
    """
    match value:
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat()
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal() if value.is_finite():
            exponent = value.as_tuple().exponent
            is_whole = isinstance(exponent, int) and exponent >= 0
            return int(value) if is_whole and value.adjusted() < _MAX_DIGITS else format(value, "f")
        case bytes() | bytearray() | memoryview():
            return _text(bytes(value))
        case UUID():
            return str(value)
        case _:
            raise TypeError(f"{type(value).__name__} has no form in JSON")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return b64encode(value).decode()
