"""Base of every model of a file that people write."""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

NonEmpty: TypeAlias = Annotated[str, StringConstraints(min_length=1)]

MOST = 2**53
"""Maximum of every count: the largest number up to which every program reads integers exactly."""


class Strict(BaseModel):
    """Settings shared by every model of the spec."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        # Built when it is first asked: of most models only what holds them is.
        defer_build=True,
    )

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return the model itself: nobody changes it, and pydantic copies defaults each time."""
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the schema with the texts of the fields.

        Pydantic can read them when a model is defined, which takes half of the time in which all
        models are imported; only the schema needs them.
        """
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in field_texts(cls).items():
            if name in properties:
                properties[name].setdefault("description", text)
        return schema


def field_texts(model: type[BaseModel]) -> dict[str, str]:
    """Return the text below each field of a model, by the field's name."""
    return {name: text for one in reversed(model.__mro__) for name, text in _own_texts(one)}


@cache
def _own_texts(model: type) -> list[tuple[str, str]]:
    if not issubclass(model, Strict) or model is Strict:
        return []
    try:
        source = inspect.cleandoc(f"\n{inspect.getsource(model)}")
    except OSError:
        return []  # made at run time
    return list(_texts_below_fields(ast.parse(source).body[0]))


def _texts_below_fields(definition: ast.stmt) -> Iterator[tuple[str, str]]:
    if not isinstance(definition, ast.ClassDef):
        return
    for field, below in pairwise(definition.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            yield field.target.id, inspect.cleandoc(below.value.value)
