"""Specs → what they ask for, with every digest known: data built, base models identified.

Needs no key, no network and no heavy package.
"""

import os
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from backends.base import Backend, BackendError, BaseModel, Encoder, Json, TrainRequest
from controller.check import Answers, OpenBackend, check_policies, check_spec
from controller.clock import days_until
from controller.data.dataset import Dataset, Part, build_dataset
from controller.data.difference import Halves, count_differences, earlier_datasets
from controller.data.fetch.snapshot import Fetched
from controller.data.files import Blob
from controller.data.given import Places
from controller.data.unchanged import Unchanged
from controller.errors import DataNotRead, ExitCode, InvalidInput, PolicyBroken, Problem
from controller.foresight import warnings_of
from controller.lock.model import DataFacts, Entry, Lockfile, PartFacts
from controller.plan.actions import Blocked, DataChange, Deferred, Desired, Obstacle, Shutdown
from controller.plan.approval import terms_of
from controller.plan.fingerprint import (
    EVALUATION_SCHEME,
    TRAINING_SCHEME,
    evaluation_inputs,
    fingerprint,
    training_inputs,
)
from controller.project import Project, known_blobs
from controller.settings import Policies
from controller.spec.load import LoadedSpec
from controller.spec.model import Spec
from controller.spec.yaml import dotted

EarlierDatasets: TypeAlias = Callable[[], Mapping[tuple[str, str], Halves]]
"""Looks for the datasets that are here, by digests; once, since there may be thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What the specs ask for, and what training would need."""

    desired: Mapping[str, Desired]
    requests: Mapping[str, TrainRequest]
    """For the first attempt; a later one replaces the number."""
    datasets: Mapping[str, Dataset]
    unresolved: Mapping[str, Deferred | Blocked]
    """Fine-tunes whose spec or data cannot be read here, and why."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every problem of every spec and data file."""
        blocked = [one for one in self.unresolved.values() if isinstance(one, Blocked)]
        return tuple(dict.fromkeys(problem for one in blocked for problem in one.problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bases:
    """Base models as their backends found them, and how they read examples; each is asked once."""

    models: dict[tuple[str, str, str | None, Path], BaseModel] = field(default_factory=dict)
    encoders: dict[tuple[str, BaseModel, str, str], Encoder] = field(default_factory=dict)

    def identify(
        self, backend: Backend, spec: Spec, revision: str | None, folder: Path
    ) -> BaseModel:
        """Return what a spec's base model is."""
        key = (spec.place, spec.base_model, revision, folder)
        if key not in self.models:
            self.models[key] = backend.identify(spec.base_model, revision, folder)
        return self.models[key]

    def encoder(
        self,
        backend: Backend,
        spec: Spec,
        base_model: BaseModel,
        hyperparameters: Mapping[str, Json],
    ) -> Encoder:
        """Return how a model reads examples; equal settings share one, which knows its files."""
        key = (spec.place, base_model, spec.method, repr(hyperparameters))
        if key not in self.encoders:
            self.encoders[key] = backend.encoder(base_model, spec.method, hyperparameters)
        return self.encoders[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What the fine-tunes of one pass share while they are resolved."""

    project: Project
    blobs: Mapping[Path, Blob] = field(default_factory=dict)
    """What git knows of files that need not be read."""
    fetched: MutableMapping[str, Fetched] = field(default_factory=dict)
    """Answers of databases, URLs and hubs: each is asked once a run, so that its passes agree."""
    bases: Bases = field(default_factory=Bases)
    """Base models that other specs of the same pass asked for."""
    answers: Answers = field(default_factory=Answers)
    """What backends answered about other specs of the same pass."""
    unchanged: Unchanged | None = None
    """Datasets that earlier passes found whole; None to look at every file."""


def resolve(
    specs: Mapping[str, LoadedSpec],
    recorded: Lockfile,
    readings: Readings,
    open_backend: OpenBackend,
    policies: Policies,
    problems: Mapping[str, Sequence[Problem]] = MappingProxyType({}),
) -> Resolved:
    """Build every dataset, identify every base model, compute every fingerprint.

    What is wrong with one fine-tune concerns it alone: it is unresolved, the others are not.

    Args:
        specs: The specs that could be read.
        recorded: The lockfile.
        readings: The repository, and what was read of it before in the same run.
        open_backend: Opens a backend by a spec's `place`.
        policies: What the repository demands.
        problems: What is wrong with specs that could not be read, by fine-tune.
    """
    desired: dict[str, Desired] = {}
    requests: dict[str, TrainRequest] = {}
    datasets: dict[str, Dataset] = {}
    unresolved: dict[str, Deferred | Blocked] = {
        name: invalid(name, found) for name, found in problems.items()
    }
    project = readings.project
    unchanged = Unchanged(project.state / "datasets.json", project.root, project.state / "data")
    readings = replace(readings, blobs=known_blobs(project.root), unchanged=unchanged)
    earlier = cache(partial(earlier_datasets, project.state / "data"))
    for name, loaded in specs.items():
        if name in unresolved:
            continue  # another file has the same name, and problems
        entry = recorded.finetunes.get(name, Entry())
        try:
            _require_valid(loaded, open_backend, policies, readings.answers)
            backend = open_backend(loaded.spec.place)
            built = build_one(loaded, entry, backend, readings)
            desired[name], requests[name] = _resolve_one(
                loaded, entry, readings, backend, built, earlier
            )
            datasets[name] = built.dataset
        except DataNotRead as error:
            unresolved[name] = _deferred(name, error)
        except InvalidInput as error:
            policy = error.exit_code == ExitCode.REFUSED
            unresolved[name] = invalid(name, error.problems, policy=policy)
        except BackendError as error:
            problem = Problem(file=loaded.file, message=error.message, remedy=error.remedy)
            unresolved[name] = invalid(name, [problem])
    unchanged.save()
    return Resolved(desired=desired, requests=requests, datasets=datasets, unresolved=unresolved)


def _require_valid(
    loaded: LoadedSpec, open_backend: OpenBackend, policies: Policies, answers: Answers
) -> None:
    wrong = list(check_spec(loaded, open_backend, answers))
    breaches = list(check_policies(loaded, policies))
    if wrong:
        raise InvalidInput([*wrong, *breaches])
    if breaches:
        raise PolicyBroken(breaches)


def without_settings(specs: Iterable[str], error: InvalidInput) -> Resolved:
    """Return what is left where `ftctl.yaml` has problems: no fine-tune can be resolved.

    What is recorded of them stays as it is, and jobs on this machine are still followed.
    """
    unresolved = {name: invalid(name, error.problems) for name in specs}
    return Resolved(desired={}, requests={}, datasets={}, unresolved=unresolved)


def invalid(name: str, problems: Sequence[Problem], *, policy: bool = False) -> Blocked:
    """Return what is planned for a fine-tune whose spec or data has problems."""
    first, *others = sorted(problems, key=lambda one: (one.file, one.line or 0, one.field))
    field_ = f"{first.field}: " if first.field else ""
    more = f"; and {len(others)} more" if others else ""
    return Blocked(
        name=name,
        reason=f"{field_}{first.message}{more}",
        remedy="Type `ftctl validate`, which shows every problem with its file and line."
        if others or not first.remedy
        else first.remedy,
        obstacle=Obstacle.POLICY if policy else Obstacle.INPUT,
        problems=(first, *others),
    )


def identify_base(loaded: LoadedSpec, entry: Entry, backend: Backend, bases: Bases) -> BaseModel:
    """Find out what a spec's base model is.

    A hub model without `revision` keeps the revision that was recorded first.

    Raises:
        InvalidInput: It is not here.
    """
    spec = loaded.spec
    revision = spec.revision
    for build in entry.builds.values():
        if revision is None and build.base_model == spec.base_model:
            revision = build.revision
    try:
        return bases.identify(backend, spec, revision, loaded.folder)
    except BackendError as error:
        problem = loaded.problem(("base_model",), error.message, error.remedy)
        raise InvalidInput([problem]) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltData:
    """A spec's dataset, and what it was built with."""

    dataset: Dataset
    encoder: Encoder
    base_model: BaseModel
    hyperparameters: Mapping[str, Json]
    """Complete: defaults written out."""


def build_one(loaded: LoadedSpec, entry: Entry, backend: Backend, readings: Readings) -> BuiltData:
    """Build the dataset of a spec that was checked, or find it built.

    Args:
        loaded: The spec.
        entry: What is recorded of it.
        backend: The spec's.
        readings: The repository, and what was read of it before.

    Raises:
        InvalidInput: With every problem of its data.
        DataNotRead: A source cannot be read here.
    """
    spec = loaded.spec
    hyperparameters = readings.answers.hyperparameters(backend, spec)
    base_model = identify_base(loaded, entry, backend, readings.bases)
    encoder = readings.bases.encoder(backend, spec, base_model, hyperparameters)
    project = readings.project
    places = Places(
        root=project.root,
        cache=project.state / "data",
        environment=os.environ,
        blobs=readings.blobs,
        offline=project.offline,
        fetched=readings.fetched,
        unchanged=readings.unchanged,
    )
    try:
        dataset = build_dataset(
            spec.data,
            file=loaded.file,
            folder=loaded.folder,
            places=places,
            encoder=encoder,
            method=spec.method,
        )
    except InvalidInput as error:
        raise type(error)([_with_line(problem, loaded) for problem in error.problems]) from None
    return BuiltData(
        dataset=dataset, encoder=encoder, base_model=base_model, hyperparameters=hyperparameters
    )


def _deferred(name: str, error: DataNotRead) -> Deferred:
    remedies = dict.fromkeys(problem.remedy for problem in error.problems if problem.remedy)
    return Deferred(
        name=name,
        reason=f"data not read, known at apply: {error.reasons}",
        remedy="\n".join(remedies),
    )


def _resolve_one(
    loaded: LoadedSpec,
    entry: Entry,
    readings: Readings,
    backend: Backend,
    built: BuiltData,
    earlier: EarlierDatasets,
) -> tuple[Desired, TrainRequest]:
    spec, dataset, base_model = loaded.spec, built.dataset, built.base_model
    inputs = training_inputs(
        spec,
        base_model=base_model.identity,
        hyperparameters=built.hyperparameters,
        train_digest=dataset.train.digest,
    )
    measured = evaluation_inputs(spec, held_out_digest=dataset.held_out.digest)
    key = fingerprint(TRAINING_SCHEME, inputs)
    evaluation = fingerprint(EVALUATION_SCHEME, measured)
    data = DataFacts(train=_facts(dataset.train), held_out=_facts(dataset.held_out))
    request = TrainRequest(
        name=loaded.name,
        fingerprint=key,
        attempt=1,
        base_model=base_model,
        method=spec.method,
        hyperparameters=built.hyperparameters,
        seed=spec.seed,
        train=dataset.train.path,
        held_out=dataset.held_out.path,
        train_origins=dataset.train.origins,
        tracking=spec.tracking.model_dump(exclude_defaults=True),
        origin={
            "inputs": inputs,
            "base_model": spec.base_model,
            "revision": base_model.revision,
            "data": data.model_dump(mode="json"),
            "terms": {"name": loaded.name, "digest": terms_of(spec.gate, evaluation)},
        },
    )
    desired = Desired(
        name=loaded.name,
        file=loaded.file,
        spec=spec,
        base_model=base_model,
        fingerprint=key,
        inputs=inputs,
        evaluation_fingerprint=evaluation,
        evaluation_inputs=measured,
        data=data,
        estimate=backend.estimate(request, dataset.train.examples, dataset.train.tokens),
        data_changes=_data_changes(entry, dataset, earlier, readings.project.state / "data")
        if key not in entry.builds
        else {},
        shutdown=_shutdown(base_model),
        warnings=tuple(warnings_of(spec, dataset, built.encoder))
        if key not in entry.builds
        else (),
        paid=readings.answers.capabilities(backend, spec).paid or _asks_elsewhere(spec, entry),
    )
    return desired, request


def _asks_elsewhere(spec: Spec, entry: Entry) -> bool:
    """Return whether evaluating asks the production model of another backend, which may cost."""
    production = entry.builds.get(entry.production or "")
    compared = "production" in spec.evaluation.compare_to
    return compared and production is not None and production.backend != spec.place


def _facts(part: Part) -> PartFacts:
    return PartFacts(digest=part.digest, examples=part.examples)


def _data_changes(
    entry: Entry, dataset: Dataset, earlier: EarlierDatasets, scratch: Path
) -> dict[str, DataChange]:
    """Count how the examples differ from recorded builds whose dataset is still here."""
    new = Halves(dataset.train, dataset.held_out)
    digests = {
        (build.data.train.digest, build.data.held_out.digest) for build in entry.builds.values()
    }
    changes: dict[str, DataChange] = {}
    for train, held_out in sorted(digests):
        old = earlier().get((train, held_out)) if train != new.train.digest else None
        if old is None:
            continue
        try:
            counted = count_differences(old, new, scratch)
        except (OSError, ValueError):
            # Lost or damaged since it was looked for: a plan is no less true without the counts.
            continue
        changes[train] = DataChange(
            added=counted.added, removed=counted.removed, changed=counted.changed
        )
    return changes


def _shutdown(base_model: BaseModel) -> Shutdown | None:
    if base_model.shutdown_date is None:
        return None
    day = base_model.shutdown_date
    return Shutdown(date=day, days_left=days_until(day))


def _with_line(problem: Problem, loaded: LoadedSpec) -> Problem:
    """Add the line to a problem that the data package found in a field of the spec."""
    if problem.file != loaded.file or problem.line is not None:
        return problem
    lines, field_ = loaded.document.lines, f"{problem.field}."
    # A key that is not written has the line of what it would stand in.
    around = [
        path
        for path in lines
        if path and field_.startswith((f"{dotted(path)}.", f"{dotted(path)}["))
    ]
    return replace(problem, line=lines[max(around, key=len)]) if around else problem
