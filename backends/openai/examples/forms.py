"""Base of the models of published forms, and their problems in words. Pure."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from backends.contract.errors import BackendError

Path: TypeAlias = tuple[str | int, ...]

_SHOWN: Final = 60
"""Maximum number of characters of a value in a message."""
_RULE: Final = "rule"
_EXPECTED: Final = {
    "bool_type": "true or false",
    "float_type": "a number",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "string_pattern_mismatch": "of the form {pattern}",
    "too_long": "at most {max_length} items long",
}
_EMPTY: Final = frozenset({"too_short", "string_too_short"})


class Form(BaseModel):
    """Published form of an object. Keys that the form does not name pass."""

    model_config = ConfigDict(strict=True, frozen=True)


def broken_rule(message: str, remedy: str, *at: str | int) -> PydanticCustomError:
    """Return the error of a rule that one value alone cannot break.

    Args:
        message: The problem, a phrase after the field.
        remedy: What to do, a sentence.
        at: Path from the validated value to the field.
    """
    return PydanticCustomError(_RULE, "{message}", {"message": message, "remedy": remedy, "at": at})


def shown(value: object) -> str:
    """Return a short text of a value, whatever it is."""
    text = repr(value[:_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN + 2 else f"{text[:_SHOWN]}..."


def first_problem(
    error: ValidationError, value: object, remedies: Mapping[str, str]
) -> BackendError:
    """Return the first problem of a value: field, message and remedy.

    Args:
        error: Pydantic's error.
        value: The validated value.
        remedies: How to write a field, by its name; the innermost field with a remedy counts.
    """
    details = error.errors(include_url=False)[0]
    context = details.get("ctx", {})
    path = (*_path_in(value, details), *context.get("at", ()))
    named = next((part for part in reversed(path) if part in remedies), None)
    remedy = context.get("remedy") or (remedies[str(named)] if named else "")
    return BackendError(f"{_dotted(path)}: {_message(details, context)}", remedy)


def _path_in(value: object, details: ErrorDetails) -> Path:
    """Return an error's path in the value, without the branches of unions in pydantic's path."""
    path: list[str | int] = []
    found: Any = value
    for part in details["loc"]:
        with suppress(KeyError, IndexError, TypeError):
            found = found[part]
            path.append(part)
    if details["type"] == "missing":
        path.append(details["loc"][-1])
    elif details["type"].startswith("union_tag"):
        path.append(details["ctx"]["discriminator"].strip("'"))
    return tuple(path)


def _dotted(path: Path) -> str:
    """Write a path as people do: `messages[1].content`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.lstrip(".")


def _message(details: ErrorDetails, context: Mapping[str, Any]) -> str:
    kind, given = details["type"], shown(details["input"])
    if kind == _RULE:
        return str(context["message"])
    if kind in {"missing", "union_tag_not_found"}:
        return "is missing"
    if kind in _EMPTY:
        return "must not be empty"
    if kind == "union_tag_invalid":
        tags = context["expected_tags"].replace("'", "")
        return f"must be one of {tags}, not {shown(context['tag'])}"
    if kind == "literal_error":
        return f"must be {context['expected'].replace(chr(39), '')}, not {given}"
    if kind in _EXPECTED:
        return f"must be {_EXPECTED[kind].format(**context)}, not {given}"
    return f"{details['msg']}, not {given}"
