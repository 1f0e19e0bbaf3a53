"""Scale of the scores that judges and people give. Pure."""

import math
from typing import Annotated, Final, TypeAlias

from pydantic import Field

from backends.pydantic_errors import InvalidValue

Scale: TypeAlias = Annotated[list[float], Field(min_length=2, max_length=2)]
"""Lowest and highest score."""
DEFAULT_SCALE: Final = [1.0, 5.0]


def check_scale(scale: list[float]) -> list[float]:
    """Return the scale.

    Raises:
        InvalidValue: The highest score is not above the lowest.
    """
    low, high = scale
    if not math.isfinite(high - low) or low >= high:
        message = f"a scale from {low:g} to {high:g} has no scores"
        raise InvalidValue(message, "Write the lowest score first: [1, 5].")
    return scale
