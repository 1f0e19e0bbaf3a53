"""Models that were trained on this machine, found by their IDs."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from backends.contract.errors import BackendError, ModelMissing
from backends.contract.jobs import BaseModel
from backends.local_gpu.jobs.run_dir import NAME, RunDir, read_request


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
    if not (model_id.startswith("ft:") and NAME.fullmatch(name) and run.result.exists()):
        raise ModelMissing(
            f"this machine has no model {model_id}", "Train it here, or use another model."
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
