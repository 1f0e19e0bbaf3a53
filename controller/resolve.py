"""Specs → what they ask for, with every digest known: data built, base models identified.

Needs no key, no network and no heavy package.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from backends.base import (
    Backend,
    BackendError,
    BaseModel,
    HyperparametersInvalid,
    Json,
    TrainRequest,
)
from backends.registry import known_backends
from controller.canonical import digest
from controller.clock import days_until
from controller.data.dataset import Dataset, Part, build_dataset
from controller.data.difference import count_differences
from controller.errors import InvalidInput, Problem
from controller.evaluate.gate import COMPARED, parse_condition
from controller.evaluate.metrics import ALWAYS, metric_name
from controller.lock.model import DataFacts, Entry, Lockfile, PartFacts
from controller.plan.actions import DataChange, Desired, Shutdown
from controller.plan.fingerprint import (
    EVALUATION_SCHEME,
    TRAINING_SCHEME,
    evaluation_inputs,
    fingerprint,
    training_inputs,
)
from controller.project import Project
from controller.spec.load import LoadedSpec
from controller.spec.yaml import dotted

BUILDABLE = ("supervised", "dpo", "reinforcement")
"""Methods whose examples `controller.data` makes; a job for another would fail after the upload."""
OpenBackend: TypeAlias = Callable[[str], Backend]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What the specs ask for, and what training would need."""

    desired: Mapping[str, Desired]
    requests: Mapping[str, TrainRequest]
    """For the first attempt; a later one replaces the number."""
    datasets: Mapping[str, Dataset]


def check_specs(
    specs: Mapping[str, LoadedSpec], open_backend: OpenBackend, problems: Sequence[Problem] = ()
) -> None:
    """Check what the models cannot know: backends, hyperparameters, gates.

    Args:
        specs: The specs that could be read.
        open_backend: Opens a backend by a spec's `place`.
        problems: What was wrong with the others.

    Raises:
        InvalidInput: With every problem of every spec.
    """
    found = [*problems]
    for loaded in specs.values():
        found += _check_spec(loaded, open_backend)
    if found:
        raise InvalidInput(found)


def resolve(
    specs: Mapping[str, LoadedSpec],
    recorded: Lockfile,
    project: Project,
    open_backend: OpenBackend,
    problems: Sequence[Problem] = (),
) -> Resolved:
    """Build every dataset, identify every base model, compute every fingerprint.

    Args:
        specs: The specs that could be read.
        recorded: The lockfile.
        project: The repository.
        open_backend: Opens a backend by a spec's `place`.
        problems: What was wrong with specs that could not be read.

    Raises:
        InvalidInput: With every problem of every spec and data file.
    """
    desired: dict[str, Desired] = {}
    requests: dict[str, TrainRequest] = {}
    datasets: dict[str, Dataset] = {}
    found = [*problems]
    for name, loaded in specs.items():
        own = list(_check_spec(loaded, open_backend))
        found += own
        if own:
            continue
        entry = recorded.finetunes.get(name, Entry())
        try:
            one = _resolve_one(loaded, entry, project, open_backend(loaded.spec.place))
        except InvalidInput as error:
            found += [_with_line(problem, loaded) for problem in error.problems]
        else:
            desired[name], requests[name], datasets[name] = one
    if found:
        raise InvalidInput(found)
    return Resolved(desired=desired, requests=requests, datasets=datasets)


def identify_base(loaded: LoadedSpec, entry: Entry, backend: Backend) -> BaseModel:
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
        return backend.identify(spec.base_model, revision, loaded.folder)
    except BackendError as error:
        problem = loaded.problem(("base_model",), error.message, error.remedy)
        raise InvalidInput([problem]) from None


def _resolve_one(
    loaded: LoadedSpec, entry: Entry, project: Project, backend: Backend
) -> tuple[Desired, TrainRequest, Dataset]:
    spec = loaded.spec
    hyperparameters = backend.parse_hyperparameters(
        spec.method, cast(Mapping[str, Json], spec.hyperparameters)
    )
    base_model = identify_base(loaded, entry, backend)
    dataset = _build(loaded, project, backend, base_model, hyperparameters)
    inputs = training_inputs(
        spec,
        base_model=base_model.identity,
        hyperparameters=hyperparameters,
        train_digest=dataset.train.digest,
    )
    measured = evaluation_inputs(spec, held_out_digest=dataset.held_out.digest)
    key = fingerprint(TRAINING_SCHEME, inputs)
    request = TrainRequest(
        name=loaded.name,
        fingerprint=key,
        attempt=1,
        base_model=base_model,
        method=spec.method,
        hyperparameters=hyperparameters,
        seed=spec.seed,
        train=dataset.train.path,
        held_out=dataset.held_out.path,
        train_origins=dataset.train.origins,
        tracking=spec.tracking.model_dump(exclude_defaults=True),
    )
    desired = Desired(
        name=loaded.name,
        file=loaded.file,
        spec=spec,
        base_model=base_model,
        fingerprint=key,
        inputs=inputs,
        evaluation_fingerprint=fingerprint(EVALUATION_SCHEME, measured),
        evaluation_inputs=measured,
        data=DataFacts(train=_facts(dataset.train), held_out=_facts(dataset.held_out)),
        estimate=backend.estimate(request, dataset.train.examples, dataset.train.tokens),
        data_changes=_data_changes(entry, dataset, project),
        shutdown=_shutdown(base_model),
    )
    return desired, request, dataset


def _build(
    loaded: LoadedSpec,
    project: Project,
    backend: Backend,
    base_model: BaseModel,
    hyperparameters: Mapping[str, Json],
) -> Dataset:
    limited = loaded.spec.data.prepare.max_tokens is not None
    encoder = backend.encoder(base_model, loaded.spec.method, hyperparameters)
    return build_dataset(
        loaded.spec.data,
        file=loaded.file,
        folder=loaded.folder,
        root=project.root,
        cache=project.state / "data",
        count_tokens=(lambda example: encoder.count([example])[0]) if limited else None,
        # The template that a hyperparameter may name decides the count as much as the tokenizer.
        method=loaded.spec.method,
        counter_identity=digest([base_model.identity, hyperparameters]) if limited else "",
    )


def _facts(part: Part) -> PartFacts:
    return PartFacts(digest=part.digest, examples=part.examples)


def _data_changes(entry: Entry, dataset: Dataset, project: Project) -> dict[str, DataChange]:
    """Count the examples added and removed against recorded builds whose dataset is still here."""
    changes = {}
    for build in entry.builds.values():
        old = build.data.train.digest
        if old == dataset.train.digest or old in changes:
            continue
        counted = count_differences(project.state / "data", old, dataset.train)
        if counted is not None:
            changes[old] = DataChange(added=counted[0], removed=counted[1])
    return changes


def _shutdown(base_model: BaseModel) -> Shutdown | None:
    if base_model.shutdown_date is None:
        return None
    day = base_model.shutdown_date
    return Shutdown(date=day, days_left=days_until(day))


def _check_spec(loaded: LoadedSpec, open_backend: OpenBackend) -> Iterator[Problem]:
    spec = loaded.spec
    yield from _check_gate(loaded)
    try:
        backend = open_backend(spec.place)
    except BackendError as error:
        yield loaded.problem(("endpoint",), error.message, error.remedy)
        return
    except KeyError:
        known = known_backends()
        close = difflib.get_close_matches(spec.backend, known, n=1)
        remedy = f"Did you mean `{close[0]}`?" if close else f"Known: {', '.join(known)}"
        yield loaded.problem(("backend",), f"no backend is called {spec.backend!r}", remedy)
        return
    can = backend.capabilities()
    if spec.endpoint is not None and not can.endpoints:
        message = f"the {spec.backend} backend has no endpoints"
        yield loaded.problem(("endpoint",), message, "Remove the line.")
    if spec.method not in can.methods:
        message = f"the {spec.backend} backend does not do {spec.method}"
        remedy = f"It does: {', '.join(sorted(can.methods))}"
        yield loaded.problem(("method",), message, remedy)
        return
    if spec.method not in BUILDABLE:
        message = f"a dataset for {spec.method} cannot be built yet: rows become conversations only"
        yield loaded.problem(("method",), message, f"Write one of: {', '.join(BUILDABLE)}")
    if can.remote and spec.data.sensitivity == "private":
        message = f"private data never leaves the machine, and {spec.backend} is elsewhere"
        remedy = "Use `backend: local-gpu`."
        yield loaded.problem(("data", "sensitivity"), message, remedy)
    try:
        backend.parse_hyperparameters(spec.method, cast(Mapping[str, Json], spec.hyperparameters))
    except HyperparametersInvalid as error:
        for found in error.problems:
            path = ("hyperparameters", found.field)
            yield loaded.problem(path, found.message, found.remedy)


def _check_gate(loaded: LoadedSpec) -> Iterator[Problem]:
    spec = loaded.spec
    measured = [*ALWAYS, *(metric_name(metric) for metric in spec.evaluation.metrics)]
    for index, text in enumerate(spec.gate):
        path = ("gate", index)
        try:
            condition = parse_condition(text)
        except ValueError as error:
            yield loaded.problem(path, str(error))
            continue
        for metric in {condition.metric, condition.other} - {None}:
            if metric not in measured:
                remedy = f"Measured: {', '.join(measured)}. Add others to evaluation.metrics."
                yield loaded.problem(path, f"{metric} is not measured", remedy)
        compared = spec.evaluation.compare_to
        if condition.model in COMPARED and condition.model not in compared:
            remedy = f"Add {condition.model} to evaluation.compare_to."
            message = f"nothing is compared with {condition.model}"
            yield loaded.problem(path, message, remedy)


def _with_line(problem: Problem, loaded: LoadedSpec) -> Problem:
    """Add the line to a problem that the data package found in a field of the spec."""
    if problem.file != loaded.file or problem.line is not None:
        return problem
    for path in loaded.document.lines:
        if dotted(path) == problem.field:
            return loaded.problem(path, problem.message, problem.remedy)
    return problem
