"""The folder of one training job: its files, and how it is made.

The submitting process writes `request.json` and the data, the worker writes everything else.
`result.json` comes last and is the only proof that a job has ended. Every file is replaced
atomically or appended to, so a crash between any two steps leaves a folder that the next `submit`
completes.
"""

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from backends.atomic_files import sync_folder, write_atomic
from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.contract.jobs import BaseModel, Hardware, TrainRequest
from backends.local_gpu.json_files import json_bytes, read_json

FORMAT: Final = 1
"""Version of `request.json`."""
NAME: Final = re.compile(r"[0-9a-f]{16}-[0-9]+")
"""A run folder's name: the fingerprint's first 16 hex digits and the attempt."""
CANCEL_PATIENCE_S: Final = 30.0
"""Seconds that a cancelled worker may take to stop before it is killed."""

_GPUS: Final = "gpus"
"""Key of requests that older versions wrote."""
_FINGERPRINT: Final = re.compile(r"(?:[a-z0-9]+:)?([0-9a-f]{16,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDir:
    """Paths of the files of one run."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the folder, unique on this machine."""
        return self.path.name

    @property
    def job_id(self) -> str:
        """ID of the job."""
        return f"run-{self.name}"

    @property
    def lock(self) -> Path:
        """Lock file, locked by the worker for as long as it lives."""
        return self.path / "lock"

    @property
    def request(self) -> Path:
        """The job's request; the submitting process writes it last."""
        return self.path / "request.json"

    @property
    def train(self) -> Path:
        """The training examples."""
        return self.path / "train.jsonl"

    @property
    def held_out(self) -> Path:
        """The held-out examples."""
        return self.path / "held_out.jsonl"

    @property
    def origins(self) -> Path:
        """File and line of origin of each training example."""
        return self.path / "train.origins"

    @property
    def worker(self) -> Path:
        """Record of the process that works, or last worked, in this folder."""
        return self.path / "worker.json"

    @property
    def heartbeat(self) -> Path:
        """File whose time of change tells when the worker last showed that it lives."""
        return self.path / "heartbeat"

    @property
    def progress(self) -> Path:
        """Reports of the worker, one a line."""
        return self.path / "progress.jsonl"

    @property
    def log(self) -> Path:
        """Output of the worker."""
        return self.path / "log.txt"

    @property
    def cancel(self) -> Path:
        """File whose existence asks the worker to stop for good."""
        return self.path / "cancel"

    @property
    def result(self) -> Path:
        """Result of the job."""
        return self.path / "result.json"

    @property
    def model(self) -> Path:
        """The trained model; complete as soon as it exists."""
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints from which an interrupted run continues."""
        return self.path / "checkpoints"

    @property
    def rendezvous(self) -> Path:
        """File by which the processes of a job on several devices find each other."""
        return self.path / "rendezvous"

    @property
    def halvings(self) -> Path:
        """Number of times that processes with shards of a model have halved their batches."""
        return self.path / "halvings.json"

    @property
    def tokens(self) -> Path:
        """Folder of the encoded examples; removed when the model is complete."""
        return self.path / "tokens"


def folder_stem(fingerprint: str) -> str:
    """Return the first part of a run folder's name.

    Raises:
        BackendError: The text is not a fingerprint.
    """
    found = _FINGERPRINT.fullmatch(fingerprint)
    if found is None:
        raise BackendError(f"{fingerprint!r} is not a fingerprint")
    return found[1][:16]


def runs_of(state: Path, fingerprints: Iterable[str]) -> dict[str, list[RunDir]]:
    """Return the complete runs of fingerprints, lowest attempt first; list the folder once."""
    by_stem: dict[str, list[RunDir]] = {}
    for run in _all_runs(state):
        by_stem.setdefault(run.name[:16], []).append(run)
    found = {}
    for fingerprint in fingerprints:
        runs = [run for run in by_stem.get(folder_stem(fingerprint), []) if run.request.exists()]
        if runs:
            found[fingerprint] = sorted(runs, key=lambda run: int(run.name.partition("-")[2]))
    return found


def runs_by_name(state: Path, names: Iterable[str]) -> dict[str, list[RunDir]]:
    """Return the complete runs of fine-tunes by name; read each folder once."""
    wanted = set(names)
    found: dict[str, list[RunDir]] = {}
    for run in _all_runs(state):
        # A damaged request has no name.
        name = (read_json(run.request) or {}).get("name")
        if name in wanted:
            found.setdefault(str(name), []).append(run)
    return found


def run_of(state: Path, request: TrainRequest) -> RunDir:
    """Return the run of a request, whether its folder exists or not."""
    name = f"{folder_stem(request.fingerprint)}-{request.attempt}"
    return RunDir(path=state.absolute() / "runs" / name)


def create(state: Path, request: TrainRequest) -> RunDir:
    """Make or complete the folder of a request.

    Raises:
        BackendError: The folder belongs to another fingerprint, or the data cannot be read.
    """
    run = run_of(state, request)
    run.path.mkdir(parents=True, exist_ok=True)
    if run.request.exists():
        _check_owner(run, request)
        return run
    try:
        _place(request.train, run.train)
        _place(request.held_out, run.held_out)
        _place(request.train_origins, run.origins)
    except FileNotFoundError as error:
        raise BackendError(
            f"the built dataset is gone: {error.filename}",
            "Run the same command again to build it.",
        ) from error
    sync_folder(run.path)
    write_atomic(run.request, json_bytes(_plain(request, run)))
    sync_folder(run.path.parent)
    return run


def read_request(run: RunDir) -> TrainRequest:
    """Read the request of a run.

    Raises:
        BackendError: The file is damaged or from a newer ftctl.
    """
    raw = read_json(run.request)
    if raw is None:
        raise BackendError(f"{run.request} is damaged", f"Remove the folder {run.path}.")
    if raw.get("format") != FORMAT:
        raise BackendError(f"{run.request} was written by a newer ftctl", "Upgrade ftctl.")
    fields = {key: value for key, value in raw.items() if key not in {"format", "created_s"}}
    fields |= {key: run.path / str(fields[key]) for key in ("train", "held_out", "train_origins")}
    fields["base_model"] = BaseModel(**fields["base_model"])
    fields["hardware"] = _hardware(raw)
    fields.pop(_GPUS, None)
    return TrainRequest(**fields)


def hardware_of(run: RunDir) -> Hardware:
    """Return the hardware of a run; that of one GPU here where its request does not tell."""
    return _hardware(read_json(run.request) or {})


def set_hardware(run: RunDir, hardware: Hardware) -> None:
    """Change the hardware of a run, which is no part of what it trains.

    Only for the holder of the run's lock.
    """
    raw = read_json(run.request) or {}
    if raw and _hardware(raw) != hardware:
        raw.pop(_GPUS, None)
        write_atomic(run.request, json_bytes({**raw, "hardware": asdict(hardware)}))


def model_id(run: RunDir, base_model: BaseModel, name: str) -> str:
    """Return the ID of a run's model."""
    return f"ft:{Path(base_model.reference).name}:{name}:{run.name}"


def write_end(run: RunDir, state: str, message: str, remedy: str = "") -> None:
    """Write the result of a run without a model."""
    error = {"message": message, "remedy": remedy}
    write_atomic(
        run.result, json_bytes({"state": state, "error": error, "finished_s": time.time()})
    )


def _hardware(raw: Mapping[str, Any]) -> Hardware:
    """Return the hardware of a request, which older versions wrote as a number of GPUs."""
    return Hardware(**raw.get("hardware", {"gpus": raw.get(_GPUS, 1)}))


def _all_runs(state: Path) -> list[RunDir]:
    try:
        names = [path.name for path in (state / "runs").iterdir()]
    except FileNotFoundError:
        return []
    return [RunDir(path=state.absolute() / "runs" / name) for name in names if NAME.fullmatch(name)]


def _check_owner(run: RunDir, request: TrainRequest) -> None:
    found = read_request(run)
    if (found.fingerprint, found.attempt) != (request.fingerprint, request.attempt):
        raise BackendError(
            f"{run.path} belongs to {found.fingerprint}, not to {request.fingerprint}",
            "Move that folder away, or raise the attempt with `ftctl retry NAME`.",
        )


def _place(source: Path, target: Path) -> None:
    """Link a file to another name, or copy it where the file system has no links."""
    # A unique name: threads of one process may place the same file at once.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        os.link(source, temporary)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)
    # Renaming one name of a file onto another name of it does nothing.
    temporary.unlink(missing_ok=True)


def _plain(request: TrainRequest, run: RunDir) -> Mapping[str, Json]:
    return {
        **asdict(request),
        "hyperparameters": dict(request.hyperparameters),
        "origin": dict(request.origin),
        "train": run.train.name,
        "held_out": run.held_out.name,
        "train_origins": run.origins.name,
        "format": FORMAT,
        "created_s": time.time(),
    }
