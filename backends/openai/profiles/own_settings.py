"""Hyperparameters that only one kind of server has, as a model that checks them."""

from collections.abc import Mapping
from operator import getitem
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, create_model

from backends.openai.profiles.profile import OwnSetting, Profile


def own_settings(profile: Profile) -> type[BaseModel]:
    """Return the model of a profile's own settings."""
    made: dict[str, Any] = {
        name: (
            _form(own),
            Field(default="auto" if own.auto else own.default, description=own.about),
        )
        for name, own in profile.settings.items()
    }
    config = ConfigDict(strict=True, extra="forbid", frozen=True)
    return create_model(profile.kind, __config__=config, **made)


def _form(own: OwnSetting) -> object:
    """Return the type of a setting, with its limits."""
    limits = {"ge": own.least, "gt": own.above, "le": own.most}
    given: Any = {name: limit for name, limit in limits.items() if limit is not None}
    whole: Any = {name: int(limit) for name, limit in given.items()}
    forms: Mapping[str, Any] = {
        "whole": Annotated[int, Field(**whole)],
        "number": Annotated[float, Field(**given, allow_inf_nan=False)],
        "flag": bool,
        "choice": getitem(Literal, own.choices or ("",)),
    }
    form = forms[own.type]
    if own.auto:
        return getitem(Union, (Literal["auto"], form))
    return form if own.default is not None else getitem(Union, (form, None))
