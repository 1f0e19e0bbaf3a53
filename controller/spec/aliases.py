"""`aliases` in a spec: further names that `ftctl serve` answers to, such as that of an old model."""

from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, Field, StringConstraints

from backends.excerpt import excerpt
from backends.pydantic_errors import InvalidValue

LONGEST: Final = 200
"""Maximum characters of an alias."""
_EDITORS_PATTERN: Final = r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"
"""What an editor can check of an alias. `_check` is stricter about invisible characters."""


def _check(alias: str) -> str:
    """Refuse a name that people cannot see or type, and so cannot find in a call site."""
    if not alias.isprintable():
        raise InvalidValue(
            f"{excerpt(alias)} has a control character or an invisible one",
            "Write the name as the call sites send it: `ft:gpt-4o-mini-2024-07-18:acme:triage:AbC`",
        )
    if alias != alias.strip():
        raise InvalidValue(f"{excerpt(alias)} begins or ends with a space", "Remove the space.")
    return alias


def _check_unique(aliases: list[str]) -> list[str]:
    for number, alias in enumerate(aliases):
        if alias in aliases[:number]:
            raise InvalidValue(f"{excerpt(alias)} is listed twice", "Remove one of them.", number)
    return aliases


Alias: TypeAlias = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST),
    AfterValidator(_check),
    Field(json_schema_extra={"pattern": _EDITORS_PATTERN}),
]
"""A name that call sites send as `model`."""
Aliases: TypeAlias = Annotated[
    list[Alias],
    AfterValidator(_check_unique),
    Field(json_schema_extra={"uniqueItems": True}),
]
"""The aliases of one fine-tune, each once."""
