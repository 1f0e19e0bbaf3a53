"""The folder of one training job: what is in it, how it is made, and what it says.

The parent writes `request.json` and the data, the child everything else; `result.json` comes last
and is the only proof that a job is over. Every file is replaced atomically or appended to, so a
crash between any two steps leaves a folder that the next `submit` completes.
"""

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

from backends.atomic_files import sync_folder, write_atomic
from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.contract.jobs import BaseModel, TrainRequest

FORMAT: Final = 1
"""Version of `request.json`."""
NAME: Final = re.compile(r"[0-9a-f]{16}-[0-9]+")
"""A run folder's name: the fingerprint's first 16 hex digits and the attempt."""
CANCEL_PATIENCE_S: Final = 30.0
"""How long a cancelled child may take to stop before it is killed."""

_FINGERPRINT: Final = re.compile(r"(?:[a-z0-9]+:)?([0-9a-f]{16,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDir:
    """Where the parts of one run are."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name, unique on this machine."""
        return self.path.name

    @property
    def job_id(self) -> str:
        """What the job is called outside."""
        return f"run-{self.name}"

    @property
    def lock(self) -> Path:
        """Held by the one child that works here, for as long as it lives."""
        return self.path / "lock"

    @property
    def request(self) -> Path:
        """What to train; written last of what the parent writes."""
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
        """Where each training example came from."""
        return self.path / "train.origins"

    @property
    def worker(self) -> Path:
        """Who works here."""
        return self.path / "worker.json"

    @property
    def heartbeat(self) -> Path:
        """Its time of change says when the child was last known to live."""
        return self.path / "heartbeat"

    @property
    def progress(self) -> Path:
        """One line per report of the child."""
        return self.path / "progress.jsonl"

    @property
    def log(self) -> Path:
        """What the child printed."""
        return self.path / "log.txt"

    @property
    def cancel(self) -> Path:
        """Its existence asks the child to stop for good."""
        return self.path / "cancel"

    @property
    def result(self) -> Path:
        """How it ended."""
        return self.path / "result.json"

    @property
    def model(self) -> Path:
        """The trained model; complete as soon as it exists."""
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        """Where an interrupted run goes on from."""
        return self.path / "checkpoints"


def folder_stem(fingerprint: str) -> str:
    """Return the part of a run folder's name that follows from the fingerprint.

    Raises:
        BackendError: It is not a fingerprint.
    """
    found = _FINGERPRINT.fullmatch(fingerprint)
    if found is None:
        raise BackendError(f"{fingerprint!r} is not a fingerprint")
    return found[1][:16]


def runs_of(state: Path, fingerprints: Iterable[str]) -> dict[str, list[RunDir]]:
    """Return the complete runs of fingerprints, lowest attempt first; one look at the disk."""
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
    """Return the complete runs made for fine-tunes of some names; each folder is read once."""
    wanted = set(names)
    found: dict[str, list[RunDir]] = {}
    for run in _all_runs(state):
        # A damaged request names nobody.
        name = (read_json(run.request) or {}).get("name")
        if name in wanted:
            found.setdefault(str(name), []).append(run)
    return found


def run_of(state: Path, request: TrainRequest) -> RunDir:
    """Return where a request's run is, whether it exists or not."""
    name = f"{folder_stem(request.fingerprint)}-{request.attempt}"
    return RunDir(path=state.absolute() / "runs" / name)


def create(state: Path, request: TrainRequest) -> RunDir:
    """Make or complete the folder of a request; `mkdir` decides who was first.

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
    write_atomic(run.request, encode(_plain(request, run)))
    sync_folder(run.path.parent)
    return run


def read_request(run: RunDir) -> TrainRequest:
    """Read what a run was asked to do.

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
    return TrainRequest(**fields)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None when it is absent or damaged."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file that may be appended to; a torn line is skipped."""
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    value = json.loads(line)
                except ValueError:
                    continue
                if isinstance(value, dict):
                    yield value
    except FileNotFoundError:
        return


def last_line(path: Path, key: str) -> dict[str, Any] | None:
    """Return the newest object with a key, reading only the file's end."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 65_536))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and key in value:
            return cast("dict[str, Any]", value)
    return None


def log_tail(path: Path, lines: int = 12) -> list[str]:
    """Return the last lines of a log that are not blank."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


def encode(value: Json) -> bytes:
    """Return JSON text as this package writes it: sorted, one value a line."""
    text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True)
    return text.encode("utf-8", errors="replace") + b"\n"


def write_end(run: RunDir, state: str, message: str, remedy: str = "") -> None:
    """Write the result of a run that left no model."""
    error = {"message": message, "remedy": remedy}
    write_atomic(run.result, encode({"state": state, "error": error, "finished_s": time.time()}))


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
    """Give a file a second name, or copy it where the file system cannot."""
    # A name of its own: threads of one process may place the same file at once.
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
