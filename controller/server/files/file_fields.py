"""Fields that describe a new file: its purpose, and when it expires."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from pydantic import Field, ValidationError

from controller.server.api.errors import invalid
from controller.server.api.requests import Body, ExactBody

SHORTEST_S, LONGEST_S = 3_600, 2_592_000
Purpose: TypeAlias = Literal["fine-tune", "assistants", "batch", "vision", "user_data", "evals"]
"""Purposes that the protocol allows; only files for fine-tuning are used here."""


class ExpiresAfter(ExactBody):
    """Expiry of a file."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=SHORTEST_S, le=LONGEST_S)


class FileForm(Body):
    """Fields of a form with a file, without `expires_after`."""

    purpose: Purpose


def expiry_s(fields: Mapping[str, str]) -> int | None:
    """Return the seconds after which a file expires, from the fields of a form; None for never.

    Both forms of the field are accepted: `expires_after[seconds]` with `expires_after[anchor]`, and
    `expires_after` with both as JSON.

    Raises:
        ApiError: The fields are invalid.
    """
    whole = fields.get("expires_after")
    keys = {name: f"expires_after[{name}]" for name in ExpiresAfter.model_fields}
    parts = {name: fields[key] for name, key in keys.items() if key in fields}
    if whole is None and not parts:
        return None
    if whole is not None and parts:
        raise invalid("'expires_after' is given twice.", "expires_after", "invalid_value")
    try:
        if whole is None:
            return ExpiresAfter.model_validate_strings(parts).seconds
        return ExpiresAfter.model_validate_json(whole).seconds
    except ValidationError:
        limits = f"{SHORTEST_S:,} to {LONGEST_S:,} seconds"
        message = f"'expires_after' must have the anchor created_at and {limits}."
        raise invalid(message, "expires_after", "invalid_value") from None
