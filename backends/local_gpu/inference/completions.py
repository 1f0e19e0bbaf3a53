"""Completing prompts in a child process, so that a model's memory is returned when it is done.

The request lies in a folder of its own, the child writes the answers there, the folder goes.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from os import environ, getpid
from pathlib import Path
from typing import Any, Final

from backends.contract.completions import Completion, Prompt, Sampling
from backends.contract.errors import BackendError, ModelMissing
from backends.contract.inspector import Json
from backends.contract.jobs import BaseModel
from backends.local_gpu.jobs.child_process import child_environment, log_tail
from backends.local_gpu.jobs.run_dir import NAME, RunDir, read_request
from backends.local_gpu.json_files import json_bytes, read_json

_PATIENCE_S: Final = 10.0
"""How long an interrupted child may take to end."""


def complete(
    state: Path,
    base_model: BaseModel,
    models: Sequence[str | None],
    prompts: Sequence[Prompt],
    sampling: Sampling,
) -> list[list[Completion]]:
    """Answer every prompt with every model. See `Backend.complete`."""
    asked = [None if model is None else trained_model(state, model, base_model) for model in models]
    if not prompts:
        return [[] for _ in models]
    root = state.absolute() / "completions"
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=root))
    request: dict[str, Json] = {
        "base_model": asdict(base_model),
        "models": asked,
        "prompts": [asdict(prompt) for prompt in prompts],
        "sampling": asdict(sampling),
    }
    try:
        (folder / "request.json").write_bytes(json_bytes(request))
        _run(folder)
        return _answers(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_of_model(state: Path, model_id: str) -> RunDir:
    """Return the run whose model has an ID.

    Raises:
        ModelMissing: There is none.
    """
    name = model_id.rpartition(":")[2]
    run = RunDir(path=state.absolute() / "runs" / name)
    if not (model_id.startswith("ft:") and NAME.fullmatch(name) and run.result.exists()):
        raise ModelMissing(
            f"this machine has no model {model_id}", "Train it here, or use another model."
        )
    return run


def trained_model(state: Path, model_id: str, base_model: BaseModel) -> Mapping[str, Json]:
    """Return what the child needs to know of a model.

    Raises:
        ModelMissing: It is not here.
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
    return {
        "id": model_id,
        "folder": str(run.model),
        "adapter": settings["finetuning_type"] == "lora",
        "chat_template": settings.get("chat_template"),
        "thinking": settings.get("thinking") == "on",
        "max_length": settings.get("max_length"),
        "dtype": settings["dtype"],
    }


def _run(folder: Path) -> None:
    worker = [sys.executable, "-P", "-m", "backends.local_gpu.jobs.device_queue"]
    arguments = [*worker, "complete", str(folder), str(getpid())]
    with (folder / "log.txt").open("wb") as log:
        child = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=child_environment(environ),
            start_new_session=True,
        )
        try:
            status = child.wait()
        except BaseException:
            child.terminate()
            try:
                child.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            raise
    if status < 0:
        name = signal.Signals(-status).name
        raise BackendError(
            f"the process that completes prompts was ended by {name}",
            "Use a smaller base model or fewer prompts at once: most often memory ran out.",
        )


def _answers(folder: Path) -> list[list[Completion]]:
    raw: dict[str, Any] = read_json(folder / "answers.json") or {}
    if "answers" in raw:
        return [[Completion(**answer) for answer in answers] for answers in raw["answers"]]
    error = raw.get("error")
    if error is None:
        tail = "\n".join(log_tail(folder / "log.txt"))
        raise BackendError(f"the process that completes prompts died; its last words:\n{tail}")
    raise error_of(error)


def error_of(said: Mapping[str, str]) -> BackendError:
    """Return the backend error that a child process reported, as an error of its own class."""
    kinds = {kind.__name__: kind for kind in _with_below(BackendError)}
    return kinds.get(said["kind"], BackendError)(said["message"], said["remedy"])


def _with_below(kind: type[BackendError]) -> Iterator[type[BackendError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _with_below(below)
