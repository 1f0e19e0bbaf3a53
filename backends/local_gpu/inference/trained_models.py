"""Models that were trained or adopted on this machine, found by their IDs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

from backends.atomic_files import write_atomic
from backends.contract.errors import (
    BackendError,
    BaseModelMissing,
    FieldProblem,
    ModelMissing,
)
from backends.contract.inspector import Json
from backends.contract.jobs import BaseModel
from backends.local_gpu.jobs.run_dir import NAME, RunDir, model_id, read_request
from backends.local_gpu.json_files import json_bytes
from backends.local_gpu.models.base_models import (
    TRAINED_IDENTITY,
    files_digest,
    merge_note,
    resolve_base_model,
)

TRAINED: Final = "ft:"
"""Start of every trained model's ID."""
_ADAPTER: Final = "adapter_config.json"
_DIGITS: Final = 12
_SHAPE: Final = (
    *("finetuning_type", "r", "lora_alpha", "use_rslora", "target_modules", "target_parameters"),
    *("exclude_modules", "layers_to_transform", "modules_to_save"),
)
"""Hyperparameters that decide the form and the scale of an adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A model as an engine's process loads it."""

    id: str
    folder: str
    adapter: bool
    """True for an adapter; False for a fully trained model."""
    chat_template: str | None
    """A shipped template that replaces the base model's own."""
    thinking: bool
    """True if the model was trained to think before it answers."""
    max_length: int | None
    """Tokens per block of a plain text; None for a model of conversations."""
    dtype: str


def run_of_model(state: Path, model_id: str) -> RunDir:
    """Return the run whose model has an ID.

    Raises:
        ModelMissing: This machine has no model with that ID.
    """
    name = model_id.rpartition(":")[2]
    run = RunDir(path=state.absolute() / "runs" / name)
    if not (model_id.startswith(TRAINED) and NAME.fullmatch(name) and run.result.exists()):
        raise ModelMissing(
            f"this machine has no model {model_id}",
            "Train it here, adopt it here (`ftctl adopt --from FOLDER`), or use another model.",
        )
    return run


def trained_model(state: Path, model_id: str, base_model: BaseModel) -> TrainedModel:
    """Return a model that was trained from a base model.

    Raises:
        ModelMissing: The model is not on this machine.
        BackendError: It was trained from another base model.
    """
    run = run_of_model(state, model_id)
    if not (run.model / "provenance.json").exists():
        raise ModelMissing(
            f"the folder of model {model_id} is gone: {run.model}", "Train it again."
        )
    request = read_request(run)
    if request.base_model.identity != base_model.identity:
        raise BackendError(
            f"{model_id} was trained from {request.base_model.identity}, "
            f"not from {base_model.identity}",
            "Complete with the base model that it was trained from.",
        )
    settings = request.hyperparameters
    return TrainedModel(
        id=model_id,
        folder=str(run.model),
        adapter=settings["finetuning_type"] == "lora",
        chat_template=cast("str | None", settings.get("chat_template")),
        thinking=settings.get("thinking") == "on",
        max_length=cast("int | None", settings.get("max_length")),
        dtype=str(settings["dtype"]),
    )


def as_base_model(state: Path, trained: str) -> BaseModel:
    """Return a trained model as a base model: to be asked as it is, or to start training from.

    Its identity is made of the contents of both folders, its own and that of its base model.

    Raises:
        BaseModelMissing: This machine does not have it, or its base model has changed.
    """
    try:
        run = run_of_model(state, trained)
    except ModelMissing as error:
        raise BaseModelMissing(error.message, error.remedy) from None
    base = read_request(run).base_model
    # A trained model is written once.
    unchanged = is_trained(base)
    now = base if unchanged else resolve_base_model(base.reference, base.revision, run.path, state)
    if now.identity != base.identity:
        raise BaseModelMissing(
            f"{base.reference}, from which {trained} was trained, has changed",
            "Bring the base model back, or adopt or train the model again.",
        )
    whole = hashlib.sha256(f"{files_digest(run.model, state)} on {base.identity}\n".encode())
    adapter = run.model / _ADAPTER
    if adapter.is_file():
        whole.update(adapter.read_bytes())
    identity = f"{TRAINED_IDENTITY}{whole.hexdigest()}"
    return BaseModel(reference=str(run.model), revision=None, identity=identity)


def behind(state: Path, base_model: BaseModel) -> tuple[BaseModel, str | None]:
    """Return the base model to load, and the ID of the trained model that stands for it.

    The ID is None for a base model that is not itself a trained model.
    """
    folder = Path(base_model.reference)
    run = RunDir(path=folder.parent)
    runs = state.absolute() / "runs"
    if folder != run.model or run.path.parent != runs or not run.request.exists():
        return base_model, None
    request = read_request(run)
    return request.base_model, model_id(run, request.base_model, request.name)


def start_merge(state: Path, base_model: BaseModel) -> BaseModel:
    """Return a base model as a training from it opens it; of an adapter, the merged model.

    Its folder need not exist: the first process that opens it merges.
    """
    if not is_trained(base_model):
        return base_model
    folder = Path(base_model.reference)
    if not (folder / _ADAPTER).is_file():
        return base_model  # a whole model
    run = RunDir(path=folder.parent)
    digits = base_model.identity.removeprefix(TRAINED_IDENTITY)[:_DIGITS]
    base = Path(read_request(run).base_model.reference).name
    merged = state.absolute() / "merged" / f"{base}-{digits}"
    if not merge_note(merged).exists():
        write_atomic(merge_note(merged), json_bytes({"run": run.name}))
    return replace(base_model, reference=str(merged))


def is_trained(base_model: BaseModel) -> bool:
    """Return True if a base model is a trained model, named by its ID."""
    return base_model.identity.startswith(TRAINED_IDENTITY)


def is_start(state: Path, base_model: BaseModel) -> bool:
    """Return True if models may have been trained from a trained model."""
    if not is_trained(base_model):
        return False
    digits = base_model.identity.removeprefix(TRAINED_IDENTITY)[:_DIGITS]
    whole = not (Path(base_model.reference) / _ADAPTER).is_file()
    return whole or any((state / "merged").glob(f"*-{digits}.json"))


def continued_adapter(
    state: Path, base_model: BaseModel, settings: Mapping[str, Json]
) -> tuple[Path | None, list[FieldProblem]]:
    """Return the folder of the adapter that a training continues, and the settings that differ.

    Args:
        state: Folder of the runs.
        base_model: With the ID of the model whose adapter is trained on.
        settings: Complete hyperparameters of the training.

    Raises:
        BackendError: The model has no adapter, or is not here.
    """
    if base_model.adapter is None:
        return None, []
    run = run_of_model(state, base_model.adapter)
    if not (run.model / _ADAPTER).is_file():
        raise BackendError(
            f"{base_model.adapter} was trained as a whole and has no adapter to continue",
            "Remove `adapter: continue`.",
        )
    earlier = read_request(run).hyperparameters
    problems = [
        _differing(key, settings.get(key), earlier.get(key))
        for key in _SHAPE
        if settings.get(key) != earlier.get(key)
    ]
    return run.model, problems


def _differing(key: str, now: Json, earlier: Json) -> FieldProblem:
    """Return the problem of a hyperparameter that an adapter to continue has otherwise."""
    own = "is not set" if now is None else f"is {json.dumps(now, ensure_ascii=False)}"
    its = "none" if earlier is None else json.dumps(earlier, ensure_ascii=False)
    same = f"Remove `{key}`" if earlier is None else f"Write `{key}: {its}`"
    return FieldProblem(
        field=key,
        message=f"{own}, and the adapter to continue has {its}",
        remedy=f"{same}, or write `adapter: merge` under `base_model`.",
    )
