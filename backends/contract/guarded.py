"""A wall around each backend, so that a broken backend fails alone and by its name.

Each call goes through, its faults become `BackendError`, and its answer is compared with the
contract before the caller gets it.
"""

import json
import math
import pickle
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from backends.contract.backend import Backend, Capabilities
from backends.contract.completions import Completion, Engine, Prompt, Sampling
from backends.contract.errors import BackendError
from backends.contract.faults import Call, Guard
from backends.contract.guarded_parts import GuardedEngine, GuardedInspector
from backends.contract.inspector import ExampleInspector, Json
from backends.contract.jobs import BaseModel, Estimate, Event, Job, Recipe, TrainRequest
from backends.contract.value_types import shown

_METHODS: Final = tuple(name for name in vars(Backend) if not name.startswith("_"))
_OF_INSPECTORS: Final = ("count", "check", "show", "warnings")
_RENAMED: Final = {
    "encoder": "inspector",
    "find": "find_jobs",
    "identify": "resolve_base_model",
    "verify": "verify_job",
}
"""Methods that had another name in an earlier contract, by that name."""


@runtime_checkable
class Pausable(Protocol):
    """A backend that can stop a job, and continues it when it is submitted again."""

    def pause(self, job_id: str) -> None:
        """Ask a job to save its work and stop; it becomes interrupted. May be repeated."""


def guard(name: str, create: Callable[[], Backend], *, built_in: bool) -> "GuardedBackend":
    """Create a backend and return it guarded.

    Args:
        name: The backend's name in specs.
        create: Imports and creates the backend.
        built_in: True for a backend of ftctl, whose inspectors and engines are not guarded.

    Raises:
        BackendError: The backend cannot be created, or lacks methods of the contract.
    """
    mine = Guard(name, built_in)
    with mine.call("create") as call:
        backend = create()
        _require_new_names(name, backend)
        call.expect_methods(backend, _METHODS, "a Backend")
    if isinstance(backend, Pausable):
        return GuardedPausable(mine, backend, backend)
    return GuardedBackend(mine, backend)


class GuardedBackend:
    """Implements `Backend` around another backend."""

    def __init__(self, guard: Guard, backend: Backend) -> None:
        self.name = guard.name
        self._guard = guard
        self._backend = backend

    def capabilities(self) -> Capabilities:
        """Return what the backend can do."""
        with self._guard.call("capabilities") as call:
            can = self._backend.capabilities()
            call.expect(can, Capabilities)
            if not 0 <= can.poll_s < math.inf:
                raise call.wrong(f"poll_s {can.poll_s}", "seconds")
        return can

    def parse_hyperparameters(self, method: str, raw: Mapping[str, Json]) -> dict[str, Json]:
        """Check hyperparameters and write out every default."""
        with self._guard.call("parse_hyperparameters") as call:
            parsed = self._backend.parse_hyperparameters(method, raw)
            call.expect(parsed, dict[str, Json])
            try:
                json.dumps(parsed, allow_nan=False)
            except ValueError as error:
                raise call.wrong(shown(parsed), f"what JSON can hold ({error})") from error
        return parsed

    def resolve_base_model(self, base_model: str, revision: str | None, folder: Path) -> BaseModel:
        """Return the base model that a spec names, without network."""
        with self._guard.call("resolve_base_model") as call:
            found = self._backend.resolve_base_model(base_model, revision, folder)
            call.expect(found, BaseModel)
            if not (found.reference and found.identity):
                raise call.wrong(shown(found), "a reference and an identity")
        return found

    def recipes(
        self, base_model: BaseModel, method: str, hyperparameters: Mapping[str, Json]
    ) -> Sequence[Recipe]:
        """Return the hyperparameters under each recipe, newest recipe first."""
        with self._guard.call("recipes") as call:
            found = self._backend.recipes(base_model, method, hyperparameters)
            call.expect(found, Sequence[Recipe])
            if not found:
                raise call.wrong("none", "the newest recipe first")
        return found

    def inspector(
        self, base_model: BaseModel, method: str, hyperparameters: Mapping[str, Json]
    ) -> ExampleInspector:
        """Return the inspector of examples for a training run."""
        with self._guard.call("inspector") as call:
            inspector = self._backend.inspector(base_model, method, hyperparameters)
            call.expect_methods(inspector, _OF_INSPECTORS, "an ExampleInspector")
            if self._guard.built_in:
                return inspector
            # Examples are read in other processes, so find out here whether it can go there.
            pickle.dumps(inspector)
        return GuardedInspector(guard=self._guard, inspector=inspector)

    def estimate(self, request: TrainRequest, examples: int, tokens: int | None) -> Estimate:
        """Return what training would cost."""
        with self._guard.call("estimate") as call:
            estimate = self._backend.estimate(request, examples, tokens)
            call.expect(estimate, Estimate)
            for least, most in filter(None, (estimate.usd, estimate.gpu_hours)):
                if not 0 <= least <= most < math.inf:
                    raise call.wrong(shown((least, most)), "a range: the least, then the most")
            if (estimate.steps or 0) < 0:
                raise call.wrong(f"{estimate.steps} steps", "0 or more")
        return estimate

    def find_jobs(self, fingerprints: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for these fingerprints, any attempt, oldest first."""
        wanted = list(fingerprints)
        with self._guard.call("find_jobs") as call:
            found = self._backend.find_jobs(wanted)
            call.expect(found, dict[str, tuple[Job, ...]])
            _require_asked(call, found, wanted)
            for fingerprint, jobs in found.items():
                for job in jobs:
                    call.expect_job(job)
                    if job.fingerprint != fingerprint:
                        found_one = f"job {job.id!r} of fingerprint {job.fingerprint!r}"
                        raise call.wrong(found_one, f"jobs of {fingerprint!r} under that key")
        return found

    def find_jobs_by_name(self, names: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for fine-tunes of these names, oldest first."""
        wanted = list(names)
        with self._guard.call("find_jobs_by_name") as call:
            found = self._backend.find_jobs_by_name(wanted)
            call.expect(found, dict[str, tuple[Job, ...]])
            _require_asked(call, found, wanted)
            for job in chain.from_iterable(found.values()):
                call.expect_job(job)
        return found

    def verify_job(self, request: TrainRequest, job_id: str) -> None:
        """Refuse a found job that was made from something else than its request."""
        with self._guard.call("verify_job"):
            self._backend.verify_job(request, job_id)

    def submit(self, request: TrainRequest) -> Job:
        """Start the job of this fingerprint and attempt, or return the existing job."""
        with self._guard.call("submit") as call:
            job = self._backend.submit(request)
            call.expect(job, Job)
            call.expect_job(job)
            if not job.id:
                raise call.wrong("a job without ID", "the ID of the job")
            key = (request.fingerprint, request.attempt)
            if (job.fingerprint, job.attempt) != key:
                found = f"job {job.id!r} of {job.fingerprint!r}, attempt {job.attempt}"
                raise call.wrong(found, f"the job of {key[0]!r}, attempt {key[1]}")
        return job

    def observe(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Return jobs by ID; jobs that do not exist any more are absent."""
        wanted = list(job_ids)
        with self._guard.call("observe") as call:
            seen = self._backend.observe(wanted)
            call.expect(seen, dict[str, Job])
            _require_asked(call, seen, wanted)
            for job_id, job in seen.items():
                call.expect_job(job)
                if job.id != job_id:
                    raise call.wrong(f"job {job.id!r}", f"job {job_id!r} under that key")
        return seen

    def events(self, job_id: str) -> Iterator[Event]:
        """Yield the job's log so far, oldest first."""
        with self._guard.call("events") as call:
            for event in self._backend.events(job_id):
                call.expect(event, Event)
                yield event

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop; a finished job stays as it is."""
        with self._guard.call("cancel"):
            self._backend.cancel(job_id)

    def complete(
        self,
        base_model: BaseModel,
        models: Sequence[str | None],
        prompts: Sequence[Prompt],
        sampling: Sampling,
    ) -> list[list[Completion]]:
        """Answer every prompt with every model."""
        with self._guard.call("complete") as call:
            answers = self._backend.complete(base_model, models, prompts, sampling)
            call.expect(answers, list[list[Completion]])
            shape = [len(completions) for completions in answers]
            if shape != [len(prompts)] * len(models):
                wanted = f"{len(models)} lists of {len(prompts)}"
                raise call.wrong(f"{len(shape)} lists of {shown(shape)} answers", wanted)
        return answers

    def answers(self, base_model: BaseModel) -> bool:
        """Return whether the base model itself can complete prompts here."""
        with self._guard.call("answers") as call:
            answers = self._backend.answers(base_model)
            call.expect(answers, bool)
        return answers

    def open_engine(self, base_model: BaseModel) -> Engine:
        """Load a base model and keep it, for models trained from it to be served together."""
        with self._guard.call("open_engine") as call:
            engine = self._backend.open_engine(base_model)
            call.expect_methods(engine, ("generate", "close"), "an Engine")
        return engine if self._guard.built_in else GuardedEngine(guard=self._guard, engine=engine)

    def delete(self, model_id: str) -> None:
        """Delete a model."""
        with self._guard.call("delete"):
            self._backend.delete(model_id)


class GuardedPausable(GuardedBackend):
    """Implements `Backend` around a backend that can pause its jobs."""

    def __init__(self, guard: Guard, backend: Backend, pausable: Pausable) -> None:
        super().__init__(guard, backend)
        self._pausable = pausable

    def pause(self, job_id: str) -> None:
        """Ask a job to save its work and stop."""
        with self._guard.call("pause"):
            self._pausable.pause(job_id)


def _require_new_names(name: str, backend: object) -> None:
    former = {
        old: new
        for old, new in _RENAMED.items()
        if hasattr(backend, old) and not hasattr(backend, new)
    }
    if former:
        raise BackendError(
            f"backend {name} was written for an earlier contract: it has {', '.join(former)}",
            f"Rename its methods: {', '.join(f'{old} to {new}' for old, new in former.items())}.",
        )


def _require_asked(call: Call, found: Mapping[str, object], wanted: Collection[str]) -> None:
    strangers = found.keys() - set(wanted)
    if strangers:
        raise call.wrong(f"an answer for {min(strangers)!r}", "answers to what was asked")
