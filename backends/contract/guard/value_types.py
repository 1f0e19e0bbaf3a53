"""Comparison of values with types of the contract: every field, to the last string.

Made for the records of `backends.contract`, whose annotations are read as they stand. Pure.
"""

import re
import reprlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import chain, repeat, starmap
from types import UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin

from backends.contract.inspector import Json

Misfit: TypeAlias = tuple[str, str]
"""The found value and the expected type, both for people."""

_KINDS: Final[Mapping[object, Any]] = {
    float: (int, float),
    None: type(None),
    # A text is not a JSON array.
    Sequence: (list, tuple),
    frozenset: AbstractSet,
}
"""Classes of the values that fit a type, where it is not the type itself."""
_PLAIN: Final = (bool, int, float, str, type(None))
_MODULE: Final = re.compile(r"\b[\w.]+\.(?=\w)|<class '|'>")


def misfit(value: Any, wanted: Hashable) -> Misfit | None:  # noqa: ANN401 - compared with all types
    """Compare a value with a type; return None if it fits.

    Args:
        value: The value.
        wanted: A class, a dataclass, a union, or a list, tuple, dict or set of them; a text is
            `Json`.
    """
    # Most values are texts and numbers of exactly their type.
    exact: object = type(value)
    if exact is wanted and exact in _PLAIN:
        return None
    if isinstance(wanted, str):
        return _json_misfit(value)
    origin, parts = _shape(wanted)
    if origin in {Union, UnionType}:
        return _union_misfit(value, wanted, parts)
    if is_dataclass(wanted) and isinstance(wanted, type):
        return _record_misfit(value, wanted)
    kind: Any = origin or wanted
    # To Python, True is a number.
    if not isinstance(value, _KINDS.get(kind, kind)) or (
        isinstance(value, bool) and kind is not bool
    ):
        return _mismatch(value, wanted)
    if origin is tuple and parts[-1] is not Ellipsis:
        if len(value) != len(parts):
            return _mismatch(value, wanted)
        return _first(map(misfit, value, parts))
    if isinstance(value, Mapping) and parts:
        values = zip(value.values(), repeat(parts[1]))
        return _first(starmap(misfit, chain(zip(value, repeat(parts[0])), values)))
    return _first(misfit(inner, parts[0]) for inner in value) if parts else None


def shown(value: object) -> str:
    """Return a short text of a value, whatever it is."""
    return reprlib.repr(value)


def named(wanted: Hashable) -> str:
    """Return a type's name without modules."""
    return _MODULE.sub("", str(wanted).replace(repr(Json), "Json"))


def _mismatch(value: object, wanted: Hashable) -> Misfit:
    return shown(value), named(wanted)


@cache
def _shape(wanted: Hashable) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(wanted), get_args(wanted)


@cache
def _types_of(record: type) -> Mapping[str, Any]:
    return {field.name: field.type for field in fields(record)}


def _first(misfits: Iterable[Misfit | None]) -> Misfit | None:
    return next(filter(None, misfits), None)


def _json_misfit(value: object) -> Misfit | None:
    if isinstance(value, _PLAIN):
        return None
    if isinstance(value, list | tuple):
        return _first(map(_json_misfit, value))
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return _first(map(_json_misfit, value.values()))
    return shown(value), "a value that JSON can hold"


def _union_misfit(value: object, wanted: Hashable, parts: Sequence[Any]) -> Misfit | None:
    if type(value) in parts and type(value) in _PLAIN:
        return None
    misfits = [misfit(value, part) for part in parts]
    if None in misfits:
        return None
    # A record with a wrong field says more than a value of another type.
    within = [found for found in misfits if found and found[0] != shown(value)]
    return within[-1] if within else _mismatch(value, wanted)


def _record_misfit(value: object, wanted: type) -> Misfit | None:
    if not isinstance(value, wanted):
        return shown(value), wanted.__name__
    for name, kind in _types_of(wanted).items():
        found = misfit(getattr(value, name), kind)
        if found is not None:
            return f"{wanted.__name__} with {name} {found[0]}", found[1]
    return None
