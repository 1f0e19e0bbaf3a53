"""`ScriptedBackend`: the whole of `Backend`, without models.

A script tells what becomes of each job, and each method can fail or crash.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

from backends.contract.backend import Capabilities, Endpoint
from backends.contract.completions import Completion, Engine, Prompt, Sampling
from backends.contract.errors import (
    BaseModelMissing,
    FieldProblem,
    HyperparametersInvalid,
    ModelMissing,
)
from backends.contract.inspector import ExampleInspector, Json
from backends.contract.jobs import BaseModel, Estimate, Event, Job, Recipe, TrainRequest
from backends.contract.methods import SUPERVISED
from backends.did_you_mean import use_one_of
from backends.testing.engine import ScriptedEngine
from backends.testing.scripted_jobs import ScriptedJobs
from backends.testing.scripts import GOES_WELL, Answer, Moment, Script, answer_well, raise_crash
from backends.testing.words import WordInspector

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
        words: Inspector of examples; its method is replaced by the spec's.
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
        self._jobs = ScriptedJobs(state / "scripted", clock)
        self._script = script
        self._answer = answer
        self._raise_at = dict(raise_at or {})
        self._crash_at = dict(crash_at or {})
        self._crash = crash
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
        """Every job ever submitted, oldest first; reading them does not advance them."""
        return self._jobs.all()

    @property
    def submitted(self) -> int:
        """Number of jobs ever created, which a service would have charged for."""
        return len(self.jobs)

    def set_script(self, job_id: str, *script: str) -> None:
        """Let a job follow another script, beginning with its first state now.

        Raises:
            KeyError: There is no such job.
        """
        self._jobs.set_script(job_id, script)

    def capabilities(self) -> Capabilities:
        """Return what this backend can do."""
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
                remedy = use_one_of(_DEFAULTS)
                problems.append(FieldProblem(field=key, message="is not known", remedy=remedy))
            elif isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                message = f"must be a number above 0, not {value!r}"
                problems.append(FieldProblem(field=key, message=message))
        if problems:
            raise HyperparametersInvalid(problems)
        return {**_DEFAULTS, **raw}

    def resolve_base_model(self, base_model: str, revision: str | None, folder: Path) -> BaseModel:
        """Return any base model that `missing` does not name."""
        del folder
        if base_model in self.missing:
            raise BaseModelMissing(f"{base_model} is not here", "Fetch it.")
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
            Recipe(hyperparameters=complete, is_correction=self.corrects)
            for complete in [*newer, hyperparameters]
        ]

    def inspector(
        self, base_model: BaseModel, method: str, hyperparameters: Mapping[str, Json]
    ) -> ExampleInspector:
        """Return an inspector that takes words for tokens."""
        del base_model, hyperparameters
        return replace(self.words, method=method)

    def estimate(self, request: TrainRequest, examples: int, tokens: int | None) -> Estimate:
        """Return `usd`, `gpu_hours`, and a step for each example and epoch."""
        del tokens
        steps = examples * int(str(request.hyperparameters["num_train_epochs"]))
        return Estimate(usd=self.usd, gpu_hours=self.gpu_hours, steps=steps)

    def find_jobs(self, fingerprints: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for these fingerprints; advances none of them."""
        with self._call("find_jobs"):
            return self._jobs.find("fingerprint", fingerprints)

    def find_jobs_by_name(self, names: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for fine-tunes of these names; advances none of them."""
        with self._call("find_jobs_by_name"):
            return self._jobs.find("name", names)

    def verify_job(self, request: TrainRequest, job_id: str) -> None:
        """Do nothing: every job here was made from what its request says."""
        del request, job_id
        with self._call("verify_job"):
            pass

    def submit(self, request: TrainRequest) -> Job:
        """Start the job of this fingerprint and attempt, or return the one that exists."""
        script = self._script
        with self._call("submit"):
            return self._jobs.submit(
                request, lambda: script(request) if callable(script) else script
            )

    def observe(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Return jobs, each open job one step further."""
        with self._call("observe"):
            return self._jobs.observe(job_ids)

    def events(self, job_id: str) -> Iterator[Event]:
        """Yield one event for each state that the job has reached."""
        with self._call("events"):
            events = self._jobs.events(job_id)
        yield from events

    def cancel(self, job_id: str) -> None:
        """Cancel a job at once; a finished job stays as it is."""
        with self._call("cancel"):
            self._jobs.cancel(job_id)

    def complete(
        self,
        base_model: BaseModel,
        models: Sequence[str | None],
        prompts: Sequence[Prompt],
        sampling: Sampling,
    ) -> list[list[Completion]]:
        """Answer every prompt with every model by `answer`."""
        del sampling
        with self._call("complete"):
            self._require_models(models)
            if None in models and base_model.reference in self.silent_bases:
                message = f"{base_model.reference} itself does not answer"
                raise ModelMissing(message, "Leave it out.")
            return [[self._answer(model, prompt) for prompt in prompts] for model in models]

    def answers(self, base_model: BaseModel) -> bool:
        """Return whether `silent_bases` does not name the base model."""
        return base_model.reference not in self.silent_bases

    def open_engine(self, base_model: BaseModel) -> Engine:
        """Return an engine that answers by `answer`, a word at a time."""
        del base_model
        return ScriptedEngine(self._answer, self._require_models)

    def delete(self, model_id: str) -> None:
        """Delete a model with its job."""
        with self._call("delete"):
            self._require_models([model_id])
            self._jobs.delete(model_id)

    @contextmanager
    def _call(self, name: str) -> Iterator[None]:
        """Count a call; raise or crash as the test wants."""
        self.calls[name] += 1
        if name in self._raise_at:
            raise self._raise_at[name]
        if self._crash_at.get(name) == "before":
            self._crash(name)
        yield
        if self._crash_at.get(name) == "after":
            self._crash(name)

    def _require_models(self, models: Sequence[str | None]) -> None:
        missing = {*models} - {None, *self._jobs.models()}
        if missing:
            raise ModelMissing(f"there is no model {missing.pop()}", "Train it.")


def create(state: Path, endpoint: Endpoint) -> ScriptedBackend:
    """Return a scripted backend, for an entry point of the group `ftctl.backends`."""
    del endpoint
    return ScriptedBackend(state)
