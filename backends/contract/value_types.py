"""Whether a value is what a type of the contract asks for: every field, to the last string.

Made for the records of `backends.contract`, whose annotations are read as they stand. Pure.
"""

import re
import reprlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin

from backends.contract.inspector import Json

Misfit: TypeAlias = tuple[str, str]
"""The value that was found, and the type that was asked for; both for people."""
Check: TypeAlias = Callable[[object], Misfit | None]

_NUMBERS: Final[Mapping[Hashable, tuple[type, ...]]] = {int: (int,), float: (int, float)}
_ARRAYS: Final = (list, tuple)
"""Types of a JSON array; a text is not an array."""
_PLAIN: Final = (bool, int, float, str, type(None))
_MODULE: Final = re.compile(r"\b[\w.]+\.(?=\w)|<class '|'>")


@cache
def check_of(wanted: Hashable) -> Check:
    """Return the function that compares a value with a type.

    Args:
        wanted: A class, a dataclass, a union, or a list, tuple, dict or set of them; a text
            stands for `Json`.
    """
    origin, parts = get_origin(wanted), get_args(wanted)
    if isinstance(wanted, str):
        return _json
    if origin in {Union, UnionType}:
        return _any_of(wanted, parts)
    if origin is tuple and parts[-1] is not Ellipsis:
        return _pair(wanted, [check_of(part) for part in parts])
    if origin in {list, tuple, Sequence}:
        return _all_in(origin, wanted, check_of(parts[0]))
    if origin is Sequence:
        return _all_in(_ARRAYS, wanted, check_of(parts[0]))
    if origin is frozenset:
        return _all_in(AbstractSet, wanted, check_of(parts[0]))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _all_at(origin, wanted, check_of(parts[0]), check_of(parts[1]))
    if is_dataclass(wanted) and isinstance(wanted, type):
        return _record(wanted)
    return _plain(wanted)


def misfit(value: object, wanted: Hashable) -> Misfit | None:
    """Compare a value with a type; None where it fits."""
    return check_of(wanted)(value)


def shown(value: object) -> str:
    """Return a value as people may see it: short, whatever it is."""
    return reprlib.repr(value)


def named(wanted: Hashable) -> str:
    """Return a type's name without modules."""
    return _MODULE.sub("", str(wanted).replace(repr(Json), "Json"))


def _plain(wanted: Hashable) -> Check:
    kinds = _NUMBERS.get(wanted) or ((wanted,) if isinstance(wanted, type) else (type(None),))

    def check(value: object) -> Misfit | None:
        # True is a number to Python, and to nobody else.
        fits = isinstance(value, kinds) and (wanted is bool or not isinstance(value, bool))
        return None if fits else (shown(value), named(wanted))

    return check


def _json(value: object) -> Misfit | None:
    if isinstance(value, _PLAIN):
        return None
    if isinstance(value, list | tuple):
        return next(filter(None, map(_json, value)), None)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return next(filter(None, map(_json, value.values())), None)
    return shown(value), "a value that JSON can hold"


def _any_of(wanted: Hashable, parts: Sequence[Any]) -> Check:
    checks = [check_of(part) for part in parts]
    optional = type(None) in parts

    def check(value: object) -> Misfit | None:
        if value is None and optional:
            return None
        nearest: Misfit | None = None
        for one in checks:
            found = one(value)
            if found is None:
                return None
            # A record with a wrong field is nearer than another type: it says which.
            if found[0] != shown(value):
                nearest = found
        return nearest or (shown(value), named(wanted))

    return check


def _pair(wanted: Hashable, checks: list[Check]) -> Check:
    def check(value: object) -> Misfit | None:
        if not isinstance(value, tuple) or len(value) != len(checks):
            return shown(value), named(wanted)
        pairs = zip(checks, value, strict=True)
        return next(filter(None, (one(part) for one, part in pairs)), None)

    return check


def _all_in(kind: type | tuple[type, ...], wanted: Hashable, one: Check) -> Check:
    def check(value: object) -> Misfit | None:
        if not isinstance(value, kind) or not isinstance(value, Iterable):
            return shown(value), named(wanted)
        return next(filter(None, map(one, value)), None)

    return check


def _all_at(kind: type, wanted: Hashable, key: Check, one: Check) -> Check:
    def check(value: object) -> Misfit | None:
        if not isinstance(value, kind) or not isinstance(value, Mapping):
            return shown(value), named(wanted)
        keys = filter(None, map(key, value))
        return next(keys, None) or next(filter(None, map(one, value.values())), None)

    return check


def _record(wanted: type) -> Check:
    types: dict[str, Any] = {field.name: field.type for field in fields(wanted)}
    checks = {name: check_of(kind) for name, kind in types.items()}

    def check(value: object) -> Misfit | None:
        if not isinstance(value, wanted):
            return shown(value), wanted.__name__
        for name, one in checks.items():
            found = one(getattr(value, name))
            if found is not None:
                return f"{wanted.__name__} with {name} {found[0]}", found[1]
        return None

    return check
