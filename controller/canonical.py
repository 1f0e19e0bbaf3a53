"""One spelling for every value, so that equal things have equal digests.

Canonical JSON here: UTF-8, keys sorted by code point, no blanks, no ASCII escapes, finite numbers
in Python's shortest form, and a float without fraction spelt as the integer it equals (1.0 and 1
are the same number in YAML and in JSON).
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence

from backends.contract.inspector import Json


def canonical_json(value: Json) -> bytes:
    """Return the canonical bytes of a JSON value.

    Raises:
        ValueError: A number is not finite.
    """
    return _bytes_of(value, _ENCODER)


def written_json(value: Json) -> bytes:
    """Return a JSON value as canonical bytes, but with the keys of objects in the order as written.

    Raises:
        ValueError: A number is not finite.
    """
    return _bytes_of(value, _IN_ORDER)


def digest(value: Json) -> str:
    """Return the SHA-256 of a value's canonical bytes, in hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _bytes_of(value: Json, encoder: json.JSONEncoder) -> bytes:
    try:
        text = encoder.encode(value)
    except TypeError:
        # A mapping or sequence of another type than JSON's own.
        text = encoder.encode(_plain(value))
    else:
        if (".0" in text or "e+" in text) and _MAY_BE_WHOLE.search(text):
            text = encoder.encode(_plain(value))
    # A lone surrogate cannot be UTF-8; datasets have replaced it before, elsewhere it becomes `?`.
    return text.encode("utf-8", errors="replace")


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
)
_IN_ORDER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_MAY_BE_WHOLE = re.compile(r"\.0[],}]|\.0$|[0-9]e\+")
"""Spelling of a float without a fraction, which is rare, and which few other texts resemble."""
_AS_THEY_ARE = frozenset({str, int, bool, type(None)})


def _plain(value: Json) -> Json:
    # What JSON is made of comes first: asking for an abstract type takes many times as long.
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, dict):
        return {
            key: item if type(item) in _AS_THEY_ARE else _plain(item) for key, item in value.items()
        }
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
