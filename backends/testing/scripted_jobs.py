"""Jobs of a `ScriptedBackend`: one JSON file, which all processes share, as they do a service."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, cast

from backends.atomic_files import locked, write_atomic
from backends.contract.errors import BackendError
from backends.contract.jobs import (
    CurvePoint,
    Event,
    Job,
    JobResult,
    JobState,
    Progress,
    TrainRequest,
)
from backends.contract.moves import ModelFiles
from backends.testing.scripts import CURVE, GOES_WELL, VANISHED, Moment, Script, raise_crash

_LOCK_POLL_S: Final = 0.001
_ENDED: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


_Method = TypeVar("_Method", bound=Callable[..., Any])


def scripted(method: _Method) -> _Method:
    """Count the calls of a method, and raise or crash in them as the test wants."""
    name = method.__name__

    @wraps(method)
    def called(backend: "ScriptedJobs", *args: Any, **named: Any) -> Any:  # noqa: ANN401
        with backend.calling(name):
            return method(backend, *args, **named)

    return cast("_Method", called)


@dataclass(eq=False)
class ScriptedJobs:
    """The jobs below a folder, and what happens when methods are called."""

    state: Path
    """Folder for its jobs; every `ScriptedBackend` with this folder sees them."""
    _: KW_ONLY
    script: Script | Callable[[TrainRequest], Script] = GOES_WELL
    """States of jobs submitted from now on, or a function that returns a script per job."""
    losses: Sequence[CurvePoint] = CURVE
    """Losses of every job that has succeeded."""
    raise_at: Mapping[str, Exception] = field(default_factory=dict)
    """Errors that methods raise, by the name of the method."""
    crash_at: Mapping[str, Moment] = field(default_factory=dict)
    """Moments at which methods crash, by the name of the method."""
    crash: Callable[[str], NoReturn] = raise_crash
    """Function that crashes."""
    clock: Callable[[], float] = time.time
    """Seconds since the epoch."""
    weights: int = 1
    """Size of the weights that `model_files` returns: so many times the model's ID."""
    calls: Counter[str] = field(default_factory=Counter)
    """Number of calls of each method on this object."""

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every job ever submitted, oldest first; reading them does not advance them."""
        with self._records() as records:
            return tuple(map(_job, records))

    @property
    def submitted(self) -> int:
        """Number of jobs ever created, which a service would have charged for."""
        return len(self.jobs)

    @scripted
    def find_jobs(self, fingerprints: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for these fingerprints; advances none of them."""
        return self._find("fingerprint", fingerprints)

    @scripted
    def find_jobs_by_name(self, names: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for fine-tunes of these names; advances none of them."""
        return self._find("name", names)

    @scripted
    def submit(self, request: TrainRequest) -> Job:
        """Start the job of this fingerprint and attempt, or return the one that exists."""
        with self._records() as records:
            for record in records:
                same = (record["fingerprint"], record["attempt"])
                if same == (request.fingerprint, request.attempt) and _state(record) != VANISHED:
                    if _state(record) == JobState.INTERRUPTED:
                        self._advance(record)
                    return _job(record)
            return self._added(records, request)

    def add_job(self, request: TrainRequest, **facts: float) -> Job:
        """Add a job whether or not one exists, as a service does that never looks.

        Args:
            request: The request.
            facts: More to store with it.
        """
        with self._records() as records:
            job = self._added(records, request)
            records[-1] |= facts
            return job

    def _added(self, records: list[dict[str, Any]], request: TrainRequest) -> Job:
        script = self.script(request) if callable(self.script) else self.script
        record = {
            "id": f"job-{len(records) + 1}",
            "name": request.name,
            "fingerprint": request.fingerprint,
            "attempt": request.attempt,
            "origin": dict(request.origin),
            "created_s": self.clock(),
            "log": [],
        }
        self._follow(record, script)
        records.append(record)
        return _job(record)

    @scripted
    def observe(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Return jobs by ID, each open job one step further."""
        wanted = set(job_ids)
        with self._records() as records:
            known = [record for record in records if record["id"] in wanted]
            for record in known:
                if _state(record) in {JobState.QUEUED, JobState.RUNNING}:
                    self._advance(record)
            return {
                str(record["id"]): _job(record) for record in known if _state(record) != VANISHED
            }

    @scripted
    def events(self, job_id: str) -> Iterator[Event]:
        """Return an event for each state that the job has reached."""
        with self._records() as records:
            logs = [record["log"] for record in records if record["id"] == job_id]
        return (Event(time_s=time_s, message=str(state)) for log in logs for time_s, state in log)

    @scripted
    def curve(self, job_id: str) -> Iterator[CurvePoint]:
        """Return `losses` for a job that has succeeded, and nothing for other jobs."""
        with self._records() as records:
            states = [_state(record) for record in records if record["id"] == job_id]
        return iter(self.losses if states == [JobState.SUCCEEDED] else ())

    @scripted
    def cancel(self, job_id: str) -> None:
        """Cancel a job; a finished job stays as it is."""
        with self._records() as records:
            for record in records:
                if record["id"] == job_id and _state(record) not in {*_ENDED, VANISHED}:
                    self._follow(record, [JobState.CANCELLED])

    def set_script(self, job_id: str, *script: str) -> None:
        """Let a job follow another script, beginning with its first state now.

        Raises:
            KeyError: There is no such job.
        """
        with self._records() as records:
            for record in records:
                if record["id"] == job_id:
                    return self._follow(record, script)
        raise KeyError(job_id)

    def models(self) -> set[str]:
        """Return the IDs of the models that exist."""
        with self._records() as records:
            return {_model_id(record) for record in records if _state(record) == JobState.SUCCEEDED}

    def write_files(self, model_id: str) -> ModelFiles:
        """Write what there is of a model into files: the record of its job, and its weights."""
        folder = self.state / "scripted" / "files" / model_id.replace(":", "-")
        with self._records() as records:
            record = next(one for one in records if _model_id(one) == model_id)
        write_atomic(folder / "record.json", json.dumps(record).encode())
        write_atomic(folder / "model/weights.bin", model_id.encode() * self.weights)
        return ModelFiles(folder=folder, names=["model/weights.bin", "record.json"])

    def take_files(self, model_id: str, folder: Path) -> None:
        """Add the job of a model from its files.

        Raises:
            BackendError: They are those of another model.
        """
        record = json.loads((folder / "record.json").read_bytes())
        weights = (folder / "model/weights.bin").read_bytes()
        if _model_id(record) != model_id or weights != model_id.encode() * self.weights:
            raise BackendError(
                f"the files are not those of {model_id}",
                "Type `ftctl store push` at the machine that has it.",
            )
        with self._records() as records:
            if model_id not in map(_model_id, records):
                records.append({**record, "id": f"job-{len(records) + 1}"})

    def remove_model(self, model_id: str) -> None:
        """Delete a model with its job."""
        with self._records() as records:
            for record in records:
                if _model_id(record) == model_id:
                    record |= {"script": [VANISHED], "step": 0}

    @contextmanager
    def calling(self, method: str) -> Iterator[None]:
        """Count a call of a method; raise or crash as the test wants."""
        self.calls[method] += 1
        if method in self.raise_at:
            raise self.raise_at[method]
        if self.crash_at.get(method) == "before":
            self.crash(method)
        yield
        if self.crash_at.get(method) == "after":
            self.crash(method)

    def _find(self, key: str, values: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Return the jobs whose `key` is one of some values, by value."""
        wanted = set(values)
        found: dict[str, tuple[Job, ...]] = {}
        with self._records() as records:
            for record in records:
                value = str(record[key])
                if value in wanted and _state(record) != VANISHED:
                    found[value] = (*found.get(value, ()), _job(record))
        return found

    @contextmanager
    def _records(self) -> Iterator[list[dict[str, Any]]]:
        """Hold the file; write what the block changed when it ends."""
        folder = self.state / "scripted"
        path = folder / "jobs.json"
        while True:
            with locked(folder / "lock") as mine:
                if mine:
                    before = path.read_bytes() if path.exists() else b"[]"
                    records: list[dict[str, Any]] = json.loads(before)
                    yield records
                    after = json.dumps(records, indent=1).encode()
                    if after != before and records:
                        write_atomic(path, after)
                    return
            time.sleep(_LOCK_POLL_S)

    def _follow(self, record: dict[str, Any], script: Script) -> None:
        record |= {"script": [str(state) for state in script], "step": 0}
        self._log(record)

    def _advance(self, record: dict[str, Any]) -> None:
        if record["step"] + 1 < len(record["script"]):
            record["step"] += 1
            self._log(record)

    def _log(self, record: dict[str, Any]) -> None:
        record["log"].append([self.clock(), _state(record)])


def _state(record: Mapping[str, Any]) -> str:
    return str(record["script"][record["step"]])


def _model_id(record: Mapping[str, Any]) -> str:
    digits = str(record["fingerprint"]).partition(":")[2][:12]
    return f"scripted:{record['name']}:{digits}-{record['attempt']}"


def _job(record: Mapping[str, Any]) -> Job:
    state = _state(record)
    shown = JobState.INTERRUPTED if state == VANISHED else JobState(state)
    result = JobResult(model_id=_model_id(record), facts={"trained_tokens": 1000, "seconds": 1})
    progress = Progress(step=record["step"], total_steps=len(record["script"]) - 1)
    return Job(
        id=str(record["id"]),
        fingerprint=str(record["fingerprint"]),
        attempt=int(record["attempt"]),
        state=shown,
        created_s=float(record["created_s"]),
        finished_s=float(record["log"][-1][0]) if shown in _ENDED else None,
        progress=progress if shown is JobState.RUNNING else None,
        result=result if shown is JobState.SUCCEEDED else None,
        error="the script says so" if shown is JobState.FAILED else None,
        origin=record.get("origin", {}),
    )
