"""Translation between the protocol's hyperparameters and the backend's.

`n_epochs`, `batch_size` and `learning_rate_multiplier` have other names here, and the last another
meaning: a factor on the backend's default rate. Other names are passed on unchanged, so that a
client may also set hyperparameters that the protocol does not have (`r`, `lora_alpha`).
"""

from collections.abc import Mapping
from typing import cast

from pydantic import JsonValue

from backends.contract.backend import Backend
from backends.contract.errors import HyperparametersInvalid
from backends.contract.inspector import Json
from backends.contract.jobs import BaseModel
from controller.server.api.errors import ApiError, invalid, sentence

EPOCHS, BATCH, RATE = "n_epochs", "batch_size", "learning_rate_multiplier"
_LOCAL = {EPOCHS: "num_train_epochs", BATCH: "per_device_train_batch_size"}
_LEARNING_RATE = "learning_rate"
_MOST = {EPOCHS: 50, BATCH: 256}


def to_backend(
    backend: Backend, base_model: BaseModel, method: str, asked: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Return the complete settings for the backend, under its newest recipe.

    Args:
        backend: The backend that checks hyperparameters and has the defaults.
        base_model: The model to train.
        method: The training method.
        asked: The client's hyperparameters; `auto` means the default.

    Raises:
        ApiError: A hyperparameter is invalid.
    """
    given = {name: value for name, value in asked.items() if value not in ("auto", None)}
    for name, most in _MOST.items():
        value = given.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise _refused(name, f"must be 'auto' or a whole number from 1 to {most}")
    factor = given.pop(RATE, 1)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or factor <= 0:
        raise _refused(RATE, "must be 'auto' or a number greater than 0")
    raw: dict[str, Json] = {_LOCAL.get(name, name): value for name, value in given.items()}
    settings = _parse(backend, method, raw)
    if factor != 1:
        if _LEARNING_RATE in raw:
            raise _refused(RATE, "cannot be combined with learning_rate")
        raw[_LEARNING_RATE] = float(str(settings[_LEARNING_RATE])) * factor
        settings = _parse(backend, method, raw)
    newest = backend.recipes(base_model, method, settings)[0]
    return cast("dict[str, JsonValue]", dict(newest.hyperparameters))


def as_json(
    asked: Mapping[str, JsonValue], settings: Mapping[str, JsonValue] | None
) -> dict[str, JsonValue]:
    """Return hyperparameters in the protocol's form.

    Args:
        asked: The client's hyperparameters.
        settings: The settings for the backend; None to show what is not resolved yet as `auto`.
    """
    if settings is None:
        return {EPOCHS: "auto", BATCH: "auto", RATE: "auto", **asked}
    factor = asked.get(RATE)
    shown = {name: settings.get(local, "auto") for name, local in _LOCAL.items()}
    return {**asked, **shown, RATE: 1.0 if factor in ("auto", None) else factor}


def _parse(backend: Backend, method: str, raw: Mapping[str, Json]) -> dict[str, JsonValue]:
    try:
        parsed = backend.parse_hyperparameters(method, raw)
    except HyperparametersInvalid as error:
        first = error.problems[0]
        known = {local: name for name, local in _LOCAL.items()} | {_LEARNING_RATE: RATE}
        raise _refused(known.get(first.field, first.field), first.one_line) from None
    # The contract promises JSON, with a wider type.
    return cast("dict[str, JsonValue]", dict(parsed))


def _refused(name: str, reason: str) -> ApiError:
    param = f"hyperparameters.{name}"
    return invalid(f"Invalid '{param}': {sentence(reason)}", param, "invalid_value")
