"""Base of every model of a file that people write."""

from typing import Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, StringConstraints

NonEmpty: TypeAlias = Annotated[str, StringConstraints(min_length=1)]

MOST = 2**53
"""Maximum of every count: the largest number up to which every program reads integers exactly."""


class Strict(BaseModel):
    """Settings shared by every model of the spec."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        # Built when it is first asked: of most models only what holds them is.
        defer_build=True,
    )

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return the model itself: nobody changes it, and pydantic copies defaults each time."""
        return self
