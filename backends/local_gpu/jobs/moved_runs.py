"""Runs that move to another machine, without their training data.

Another machine gets the model, the request and the result of a run, with its reports and its log.
The result is placed last: a run without one would be continued by training.
"""

import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from backends.atomic_files import publish_dir, write_atomic
from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel
from backends.contract.moves import ModelFiles
from backends.local_gpu.export.export_process import weights_folder
from backends.local_gpu.inference.trained_models import run_of_model, start_merge
from backends.local_gpu.jobs.run_dir import FORMAT, NAME, RunDir, folder_stem, read_request
from backends.local_gpu.json_files import json_bytes, read_json
from backends.lock_files import try_lock

_MODEL: Final = "model"
_DAMAGED: Final = "Type `ftctl store push` at the machine that trained it."


def model_files(state: Path, model_id: str) -> ModelFiles:
    """Return the files of a model that another machine needs.

    Raises:
        ModelMissing: The model is not on this machine.
    """
    weights_folder(state, model_id)
    run = run_of_model(state, model_id)
    own = [path for path in (run.log, run.progress, run.request, run.result) if path.is_file()]
    weights = [path for path in run.model.rglob("*") if path.is_file() and not path.is_symlink()]
    names = sorted(path.relative_to(run.path).as_posix() for path in (*own, *weights))
    return ModelFiles(folder=run.path, names=names)


def place_model(state: Path, model_id: str, base_model: BaseModel, folder: Path) -> None:
    """Make the run of a model from the files of another machine.

    Args:
        state: Folder below which the backend keeps its files.
        model_id: The model.
        base_model: Its base model, as it is found on this machine.
        folder: Folder with the files, which are moved.

    Raises:
        BackendError: The files are not those of the model, or it is being trained here.
    """
    name = model_id.rpartition(":")[2]
    if not NAME.fullmatch(name):
        raise BackendError(f"{model_id} is not the ID of a model that was trained by ftctl")
    moved, run = RunDir(path=folder), RunDir(path=state.absolute() / "runs" / name)
    _require_model(moved, name, model_id, base_model)
    run.path.mkdir(parents=True, exist_ok=True)
    lock = try_lock(run.lock)
    if lock is None:
        message = f"{model_id} is being trained on this machine"
        raise BackendError(message, "Wait until its job has ended: `ftctl wait`.")
    try:
        if not (run.result.exists() and any(run.model.glob("*.safetensors"))):
            _move(moved, run, start_merge(state, base_model))
    finally:
        os.close(lock)


def _move(moved: RunDir, run: RunDir, base_model: BaseModel) -> None:
    result = moved.result.read_bytes()
    request = read_json(moved.request) or {}
    # Where the base model lies is this machine's own; an adapter that was continued stays behind.
    request["base_model"] = asdict(replace(base_model, adapter=None, download_bytes=None))
    run.result.unlink(missing_ok=True)
    for left in (run.model, run.checkpoints, run.tokens):
        shutil.rmtree(left, ignore_errors=True)
    run.cancel.unlink(missing_ok=True)
    for old, new in ((moved.progress, run.progress), (moved.log, run.log)):
        if old.exists():
            old.replace(new)
    publish_dir(moved.model, run.model)
    write_atomic(run.request, json_bytes(request))
    write_atomic(run.result, result)


def _require_model(moved: RunDir, name: str, model_id: str, base_model: BaseModel) -> None:
    """Require that a folder holds what `model_files` returned of a model.

    Raises:
        BackendError: It does not.
    """
    raw, result = read_json(moved.request), read_json(moved.result)
    if raw is None or result is None or result.get("state") != "succeeded":
        raise BackendError(f"the files of {model_id} hold no trained model", _DAMAGED)
    if raw.get("format") != FORMAT:
        raise BackendError(f"{model_id} was trained by a newer ftctl", "Upgrade ftctl.")
    request = read_request(moved)
    if f"{folder_stem(request.fingerprint)}-{request.attempt}" != name:
        raise BackendError(f"the files of {model_id} are those of another model", _DAMAGED)
    if request.base_model.identity != base_model.identity:
        raise BackendError(
            f"{model_id} was trained from {request.base_model.identity}, "
            f"not from {base_model.identity}",
            "Bring the base model here that it was trained from.",
        )
    if not any((moved.path / _MODEL).glob("*.safetensors")):
        raise BackendError(f"the files of {model_id} hold no weights", _DAMAGED)
