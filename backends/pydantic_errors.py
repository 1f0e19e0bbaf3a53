"""Pydantic's errors in our words: the same for specs, settings, hyperparameters and requests."""

import re
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from backends.contract.errors import Problem
from backends.did_you_mean import did_you_mean, use_one_of
from backends.excerpt import clipped, dotted, excerpt

Path: TypeAlias = tuple[str | int, ...]
Models: TypeAlias = Sequence[type[BaseModel]]


class OfForms:
    """Base of a value that is written in one of several forms, each with a model."""

    @classmethod
    def forms(cls) -> list[type[BaseModel]]:
        """Return the models, whose fields are the known keys."""
        return []


class InvalidValue(ValueError):
    """A value that a model refuses, with the remedy.

    Attributes:
        remedy: What to do, a sentence.
        at: Path from the validated value to the field.
    """

    def __init__(self, message: str, remedy: str, *at: str | int) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.at = at


class Wrong(NamedTuple):
    """One field that pydantic refuses."""

    path: Path
    """In the value as it was written."""
    kind: str
    """Pydantic's name of the error."""
    message: str
    remedy: str = ""

    def problem(self) -> Problem:
        """Return it as a problem."""
        return Problem(field=dotted(self.path), message=self.message, remedy=self.remedy)


_TAG: Final = re.compile(r"<[a-z_]+>")
_NUMBER: Final = re.compile(r"\s*[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?\s*")
_EXPECTED: Final = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} items long",
    "too_long": "at most {max_length} items long",
    "string_too_short": "at least {min_length} characters long",
    "string_too_long": "at most {max_length} characters long",
    "string_pattern_mismatch": "of the form {pattern}",
    "union_tag_not_found": "one of the forms that `ftctl schema` shows",
}
_MISSING: Final = {"data.held_out": "held_out: {fraction: 0.1}"}
"""Text to type for a missing key that has a usual value."""


def in_our_words(
    error: ValidationError, value: object, models: Models, most: int | None = None
) -> list[Wrong]:
    """Return every field that is wrong, once, in the order that pydantic found them.

    Args:
        error: Pydantic's error.
        value: What was validated, as it was written.
        models: The models it was validated with; their fields are the known keys.
        most: Maximum number of pydantic's errors to read; None for all.
    """
    found: dict[Path, Wrong] = {}
    for details in error.errors(include_url=False)[:most]:
        wrong = _explain(details, value, models)
        found[wrong.path] = _either(found[wrong.path], wrong) if wrong.path in found else wrong
    return [wrong for wrong in found.values() if not _has_better_form(wrong, found)]


def _written_path(location: Path, kind: str, value: object) -> Path:
    """Return the path of an error in the value that was written.

    Pydantic's path also names the branches of unions, which no file has.
    """
    path: list[str | int] = []
    for number, part in enumerate(location):
        is_absent_key = kind == "missing" and number == len(location) - 1
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part] if part < len(value) else None
        elif not is_absent_key:
            continue
        path.append(part)
    return tuple(path)


def _explain(details: ErrorDetails, value: object, models: Models) -> Wrong:
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    path = _written_path(details["loc"], kind, value)
    tag = re.fullmatch(r"'(\w+)'", str(context.get("discriminator", "")))
    if tag is not None:
        path, given = (*path, tag[1]), context.get("tag")
        kind = "missing" if kind == "union_tag_not_found" else kind
    if kind == "extra_forbidden":
        return Wrong(path, kind, *_unknown_key(path, models))
    if kind == "missing":
        return Wrong(
            path, kind, "is missing", f"Add `{_MISSING.get(dotted(path), f'{path[-1]}: …')}`."
        )
    if kind == "value_error":
        error = context["error"]
        remedy, at = (error.remedy, error.at) if isinstance(error, InvalidValue) else ("", ())
        return Wrong((*path, *at), kind, str(error), remedy)
    return Wrong(path, kind, *_of_value(kind, given, context, details["msg"]))


def _of_value(kind: str, given: object, context: Mapping[str, Any], said: str) -> tuple[str, str]:
    """Return message and remedy for a value that does not fit."""
    if kind in {"too_short", "string_too_short"} and context["min_length"] == 1:
        return "must not be empty", ""
    if kind in {"literal_error", "union_tag_invalid"}:
        return _unknown_word(context.get("given", given), context)
    expected = _EXPECTED.get(kind)
    if expected is None:
        return f"{said[0].lower()}{said[1:]}, not {shown(given)}", ""
    limits = {key: _plain(limit) for key, limit in context.items()}
    message = f"must be {expected.format(**limits)}, not {shown(given)}"
    return message, _how_to_write(kind, given)


def _how_to_write(kind: str, given: object) -> str:
    if kind == "bool_type":
        return "Write true or false."
    if kind in {"int_type", "float_type"} and isinstance(given, str) and _NUMBER.fullmatch(given):
        return "Write the number without quotes."
    if kind == "string_type" and isinstance(given, bool | int | float):
        return f'Quote it: "{clipped(str(given))}"'
    return ""


def _either(one: Wrong, other: Wrong) -> Wrong:
    """Return the error of a value of several possible forms: `must be A or B, not C`."""
    first, _, given = one.message.rpartition(", not ")
    second, _, _ = other.message.rpartition(", not ")
    if not (first.startswith("must be ") and second.startswith("must be ")):
        return other if _is_of_other_form(one.kind) else one
    message = f"{first} or {second.removeprefix('must be ')}, not {given}"
    return one._replace(message=message, remedy=one.remedy or other.remedy)


def _has_better_form(wrong: Wrong, found: Mapping[Path, Wrong]) -> bool:
    """Return whether another branch of a union goes deeper into the value."""
    depth = len(wrong.path)
    return _is_of_other_form(wrong.kind) and any(
        len(path) > depth and path[:depth] == wrong.path for path in found
    )


def _is_of_other_form(kind: str) -> bool:
    return kind == "literal_error" or kind.endswith("_type")


def _unknown_key(path: Path, models: Models) -> tuple[str, str]:
    known = sorted(_keys_at(path[:-1], models))
    return "is not a known key", did_you_mean(str(path[-1]), known) or use_one_of(known)


def _unknown_word(given: object, context: Mapping[str, Any]) -> tuple[str, str]:
    allowed = str(context.get("expected") or context.get("expected_tags", ""))
    words = re.findall(r"'<?([^'>]+)>?'", allowed)
    listed = words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    remedy = did_you_mean(given, words) if isinstance(given, str) else ""
    return f"must be {listed}, not {shown(given)}", remedy


def _plain(value: object) -> object:
    """Write a limit as people do: 1, not 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def shown(given: object) -> str:
    """Return a value for a message: short, with its type if the type is the point."""
    match given:
        case None:
            return "empty"
        case bool():
            return str(given).lower()
        case str():
            return f"the text {excerpt(' '.join(given.split()) or given)}"
        case int() | float():
            return clipped(f"{given}")
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return type(given).__name__


def _keys_at(path: Path, models: Models) -> list[str]:
    """Return the keys that models allow at a path."""
    for part in path:
        if isinstance(part, str):
            fields = [known for model in models if (known := model.model_fields.get(part))]
            # A part that is not a field is the key of a mapping, whose values these models are.
            if fields:
                models = [inner for field in fields for inner in _models_in(field.annotation)]
    return [key for model in models for key in model.model_fields]


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, type) and issubclass(annotation, OfForms):
        return annotation.forms()
    if get_origin(annotation) in {Union, UnionType, list, dict, Annotated}:
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return []
