"""The fields of a model, and of the models in it, by dotted names."""

import types
import typing

from pydantic import BaseModel

from backends.pydantic_errors import OfForms


def fields_of(model: type[BaseModel], prefix: str = ""):
    """Yield every field of a model and of the models in it, by dotted path."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        yield path
        for inner in models_in(info.annotation):
            yield from fields_of(inner, f"{path}.")


def models_in(annotation) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, type) and issubclass(annotation, OfForms):
        return annotation.forms()
    found = [one for part in typing.get_args(annotation) for one in models_in(part)]
    return list(dict.fromkeys(found)) if not isinstance(annotation, types.NoneType) else []
