"""Models that were trained or adopted on this machine, found by their IDs."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from backends.contract.errors import BackendError, BaseModelMissing, ModelMissing
from backends.contract.jobs import BaseModel
from backends.local_gpu.jobs.run_dir import NAME, RunDir, model_id, read_request
from backends.local_gpu.models.base_models import files_digest, resolve_base_model

TRAINED: Final = "ft:"
"""Start of every trained model's ID."""
TRAINED_IDENTITY: Final = "trained:"
"""Start of the identity of a trained model that a spec names by its ID."""


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
    """Return a trained model as the base model of a prompt: asked as it is, never trained.

    Its identity is made of the contents of both folders, its own and that of its base model.

    Raises:
        BaseModelMissing: This machine does not have it, or its base model has changed.
    """
    try:
        run = run_of_model(state, trained)
    except ModelMissing as error:
        raise BaseModelMissing(error.message, error.remedy) from None
    base = read_request(run).base_model
    now = resolve_base_model(base.reference, base.revision, run.path, state)
    if now.identity != base.identity:
        raise BaseModelMissing(
            f"{base.reference}, from which {trained} was trained, has changed",
            "Bring the base model back, or adopt or train the model again.",
        )
    whole = hashlib.sha256(f"{files_digest(run.model, state)} on {base.identity}\n".encode())
    adapter = run.model / "adapter_config.json"
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
