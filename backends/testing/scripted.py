"""`ScriptedBackend`: the whole of `Backend`, without models.

Its jobs live in one JSON file, so that several processes see the same ones, as they would at a
real service; how a job goes on is a script, and it can fail or die at any call.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn

from backends.atomic_files import locked, write_atomic
from backends.contract.backend import Capabilities, Endpoint
from backends.contract.completions import Completion, Engine, Prompt, Sampling
from backends.contract.errors import (
    BaseModelMissing,
    FieldProblem,
    HyperparametersInvalid,
    ModelMissing,
)
from backends.contract.inspector import ExampleInspector, Json
from backends.contract.jobs import (
    BaseModel,
    Estimate,
    Event,
    Job,
    JobResult,
    JobState,
    Progress,
    Recipe,
    TrainRequest,
)
from backends.contract.methods import SUPERVISED
from backends.testing.engine import ScriptedEngine
from backends.testing.scripts import (
    GOES_WELL,
    VANISHED,
    Answer,
    Moment,
    Script,
    answer_well,
    raise_crash,
)
from backends.testing.words import WordInspector

_LOCK_POLL_S: Final = 0.001
_ENDED: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
_DEFAULTS: Final[Mapping[str, float | int]] = {"learning_rate": 1e-4, "num_train_epochs": 3}


class ScriptedBackend:
    """A backend without models, for tests. Implements `Backend`.

    Args:
        state: Folder for its jobs; every `ScriptedBackend` with this folder sees them.
        script: States of jobs submitted from now on, or a function that returns a script per job.
        answer: Answers of models to prompts.
        raise_at: Errors that methods raise, by the name of the method.
        crash_at: Moments at which methods crash, by the name of the method.
        crash: Function that crashes; the default raises `Crash`.
        clock: Seconds since the epoch.

    Attributes:
        usd: Reported cost of a job; None for not known.
        gpu_hours: Reported GPU hours of a job; None for not known.
        remote: True to report that data leaves the machine.
        missing: Base models that are not on this machine.
        silent_bases: Base models that cannot answer prompts themselves.
        recipe: Number of its newest recipe.
        corrects: True to report that its recipes differ.
        words: ExampleInspector of examples; its method is replaced by the spec's.
        calls: Number of calls of each method on this object.
    """

    name = "scripted"

    def __init__(  # noqa: PLR0913 - a test sets the one or two that it is about
        self,
        state: Path,
        *,
        script: Script | Callable[[TrainRequest], Script] = GOES_WELL,
        answer: Answer = answer_well,
        raise_at: Mapping[str, Exception] | None = None,
        crash_at: Mapping[str, Moment] | None = None,
        crash: Callable[[str], NoReturn] = raise_crash,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = state / "scripted"
        self._script = script
        self._answer = answer
        self._raise_at = dict(raise_at or {})
        self._crash_at = dict(crash_at or {})
        self._crash = crash
        self._clock = clock
        self.usd: tuple[float, float] | None = (0.0, 0.0)
        self.gpu_hours: tuple[float, float] | None = None
        self.remote = False
        self.missing: frozenset[str] = frozenset()
        self.silent_bases: frozenset[str] = frozenset()
        self.recipe = 1
        self.corrects = True
        self.words = WordInspector()
        self.calls: Counter[str] = Counter()

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every job ever submitted, oldest first, without moving any of them on."""
        with self._records() as records:
            return tuple(_job(record) for record in records)

    @property
    def submitted(self) -> int:
        """How many jobs were ever created: what a service would have charged for."""
        return len(self.jobs)

    def set_script(self, job_id: str, *script: str) -> None:
        """Let a job go on by another script, beginning with its first state now.

        Raises:
            KeyError: There is no such job.
        """
        with self._records() as records:
            for record in records:
                if record["id"] == job_id:
                    record |= {"script": [str(state) for state in script], "step": 0}
                    self._note(record)
                    return
        raise KeyError(job_id)

    def capabilities(self) -> Capabilities:
        """Say what this backend can do."""
        return Capabilities(
            methods=frozenset({SUPERVISED.name}),
            remote=self.remote,
            paid=self.usd != (0.0, 0.0),
            tracking=frozenset({"wandb"}),
            gpu_hours=True,
        )

    def parse_hyperparameters(self, method: str, raw: Mapping[str, Json]) -> dict[str, Json]:
        """Check `learning_rate` and `num_train_epochs`, and write out their defaults."""
        problems = []
        if method != SUPERVISED.name:
            problems.append(FieldProblem(field="method", message=f"does not do {method}"))
        for key, value in raw.items():
            if key not in _DEFAULTS:
                remedy = f"known: {', '.join(_DEFAULTS)}"
                problems.append(FieldProblem(field=key, message="is not known", remedy=remedy))
            elif isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                message = f"must be a number above 0, not {value!r}"
                problems.append(FieldProblem(field=key, message=message))
        if problems:
            raise HyperparametersInvalid(problems)
        return {**_DEFAULTS, **raw}

    def resolve_base_model(self, base_model: str, revision: str | None, folder: Path) -> BaseModel:
        """Take any base model to be here, unless `missing` names it."""
        del folder
        if base_model in self.missing:
            raise BaseModelMissing(f"{base_model} is not here", "fetch it")
        commit = revision or "0" * 40
        identity = f"scripted:{base_model}@{commit}"
        return BaseModel(reference=base_model, revision=commit, identity=identity)

    def recipes(
        self, base_model: BaseModel, method: str, hyperparameters: Mapping[str, Json]
    ) -> Sequence[Recipe]:
        """Return the recipes from number `recipe` down to 1; recipe 1 adds no hyperparameter."""
        del base_model, method
        newer = ({**hyperparameters, "recipe": number} for number in range(self.recipe, 1, -1))
        return [
            Recipe(hyperparameters=one, is_correction=self.corrects)
            for one in [*newer, hyperparameters]
        ]

    def inspector(
        self, base_model: BaseModel, method: str, hyperparameters: Mapping[str, Json]
    ) -> ExampleInspector:
        """Return an inspector that takes words for tokens."""
        del base_model, hyperparameters
        return replace(self.words, method=method)

    def estimate(self, request: TrainRequest, examples: int, tokens: int | None) -> Estimate:
        """Say what `usd` and `gpu_hours` say, and a step for each example and epoch."""
        del tokens
        steps = examples * int(str(request.hyperparameters["num_train_epochs"]))
        return Estimate(usd=self.usd, gpu_hours=self.gpu_hours, steps=steps)

    def find_jobs(self, fingerprints: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for these fingerprints; moves none of them on."""
        with self._call("find_jobs"):
            return self._jobs_by("fingerprint", fingerprints)

    def find_jobs_by_name(self, names: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for fine-tunes of these names; moves none of them on."""
        with self._call("find_jobs_by_name"):
            return self._jobs_by("name", names)

    def verify_job(self, request: TrainRequest, job_id: str) -> None:
        """Do nothing: jobs are what they say here."""
        del request, job_id
        with self._call("verify_job"):
            pass

    def submit(self, request: TrainRequest) -> Job:
        """Start the job of this fingerprint and attempt, or return the one that exists."""
        with self._call("submit"), self._records() as records:
            for record in records:
                same = (record["fingerprint"], record["attempt"])
                if same == (request.fingerprint, request.attempt) and _state(record) != VANISHED:
                    if _state(record) == JobState.INTERRUPTED:
                        self._advance(record)
                    break
            else:
                record = self._new_record(request, len(records) + 1)
                records.append(record)
            return _job(record)

    def observe(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Look at jobs, moving each open one a step on."""
        wanted = set(job_ids)
        seen: dict[str, Job] = {}
        with self._call("observe"), self._records() as records:
            for record in records:
                if record["id"] not in wanted:
                    continue
                if _state(record) in {JobState.QUEUED, JobState.RUNNING}:
                    self._advance(record)
                if _state(record) != VANISHED:
                    seen[str(record["id"])] = _job(record)
        return seen

    def events(self, job_id: str) -> Iterator[Event]:
        """Yield a line for each state that the job has reached."""
        with self._call("events"), self._records() as records:
            known = [record for record in records if record["id"] == job_id]
        for record in known:
            for time_s, state in record["log"]:
                yield Event(time_s=time_s, message=str(state))

    def cancel(self, job_id: str) -> None:
        """Cancel a job at once; a finished one stays what it is."""
        with self._call("cancel"), self._records() as records:
            for record in records:
                if record["id"] == job_id and _state(record) not in {*_ENDED, VANISHED}:
                    record |= {"script": [str(JobState.CANCELLED)], "step": 0}
                    self._note(record)

    def complete(
        self,
        base_model: BaseModel,
        models: Sequence[str | None],
        prompts: Sequence[Prompt],
        sampling: Sampling,
    ) -> list[list[Completion]]:
        """Answer every prompt with every model, as `answer` says."""
        del sampling
        with self._call("complete"):
            self._require_models(models)
            if None in models and base_model.reference in self.silent_bases:
                raise ModelMissing(f"{base_model.reference} itself does not answer", "leave it out")
            return [[self._answer(model, prompt) for prompt in prompts] for model in models]

    def answers(self, base_model: BaseModel) -> bool:
        """Return whether `silent_bases` does not name the base model."""
        return base_model.reference not in self.silent_bases

    def open_engine(self, base_model: BaseModel) -> Engine:
        """Return an engine that answers as `answer` says, a word at a time."""
        del base_model
        return ScriptedEngine(self._answer, self._require_models)

    def delete(self, model_id: str) -> None:
        """Delete a model with its job."""
        with self._call("delete"):
            self._require_models([model_id])
            with self._records() as records:
                for record in records:
                    if _model_id(record) == model_id:
                        record |= {"script": [VANISHED], "step": 0}

    @contextmanager
    def _call(self, name: str) -> Iterator[None]:
        """Count a call; break it off where the test asked for that."""
        self.calls[name] += 1
        if name in self._raise_at:
            raise self._raise_at[name]
        if self._crash_at.get(name) == "before":
            self._crash(name)
        yield
        if self._crash_at.get(name) == "after":
            self._crash(name)

    @contextmanager
    def _records(self) -> Iterator[list[dict[str, Any]]]:
        """Hold the jobs' file; what the block changed is written when it ends."""
        path = self._folder / "jobs.json"
        while True:
            with locked(self._folder / "lock") as mine:
                if mine:
                    before = path.read_bytes() if path.exists() else b"[]"
                    records: list[dict[str, Any]] = json.loads(before)
                    yield records
                    after = json.dumps(records, indent=1).encode()
                    if after != before and records:
                        write_atomic(path, after)
                    return
            time.sleep(_LOCK_POLL_S)

    def _jobs_by(self, key: str, values: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        wanted = set(values)
        found: dict[str, tuple[Job, ...]] = {}
        with self._records() as records:
            for record in records:
                value = str(record[key])
                if value in wanted and _state(record) != VANISHED:
                    found[value] = (*found.get(value, ()), _job(record))
        return found

    def _new_record(self, request: TrainRequest, number: int) -> dict[str, Any]:
        script = self._script(request) if callable(self._script) else self._script
        record = {
            "id": f"job-{number}",
            "name": request.name,
            "fingerprint": request.fingerprint,
            "attempt": request.attempt,
            "origin": dict(request.origin),
            "created_s": self._clock(),
            "script": [str(state) for state in script],
            "step": 0,
            "log": [],
        }
        self._note(record)
        return record

    def _advance(self, record: dict[str, Any]) -> None:
        if record["step"] + 1 < len(record["script"]):
            record["step"] += 1
            self._note(record)

    def _note(self, record: dict[str, Any]) -> None:
        record["log"].append([self._clock(), _state(record)])

    def _require_models(self, models: Sequence[str | None]) -> None:
        with self._records() as records:
            alive = {
                _model_id(record) for record in records if _state(record) == JobState.SUCCEEDED
            }
        for model in models:
            if model is not None and model not in alive:
                raise ModelMissing(f"there is no model {model}", "train it")


def create(state: Path, endpoint: Endpoint) -> ScriptedBackend:
    """Return a scripted backend, for an entry point of the group `ftctl.backends`."""
    del endpoint
    return ScriptedBackend(state)


def _state(record: Mapping[str, Any]) -> str:
    return str(record["script"][record["step"]])


def _model_id(record: Mapping[str, Any]) -> str:
    digits = str(record["fingerprint"]).partition(":")[2][:12]
    return f"scripted:{record['name']}:{digits}-{record['attempt']}"


def _job(record: Mapping[str, Any]) -> Job:
    state = _state(record)
    shown = JobState.INTERRUPTED if state == VANISHED else JobState(state)
    ended = shown in _ENDED
    succeeded = shown is JobState.SUCCEEDED
    step, last = int(record["step"]), len(record["script"]) - 1
    return Job(
        id=str(record["id"]),
        fingerprint=str(record["fingerprint"]),
        attempt=int(record["attempt"]),
        state=shown,
        created_s=float(record["created_s"]),
        finished_s=float(record["log"][-1][0]) if ended else None,
        progress=Progress(step=step, total_steps=last) if shown is JobState.RUNNING else None,
        result=JobResult(model_id=_model_id(record), facts={"trained_tokens": 1000, "seconds": 1})
        if succeeded
        else None,
        error="the script says so" if shown is JobState.FAILED else None,
        origin=record.get("origin", {}),
    )
