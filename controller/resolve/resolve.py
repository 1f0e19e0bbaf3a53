"""Specs → what they ask for, with every digest known: data built, base models identified.

Needs no key, no network and no heavy package.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_changes
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from backends.contract.backend import Backend
from backends.contract.errors import BackendError
from backends.contract.inspector import ExampleInspector, Json
from backends.contract.jobs import BaseModel, Estimate, TrainRequest
from backends.contract.methods import METHODS
from controller.data.dataset import Dataset, Split
from controller.data.reports.diff import DatasetSplits, count_differences, earlier_datasets
from controller.data.verified_datasets import VerifiedDatasets
from controller.dates import days_until
from controller.errors import DataNotRead, ExitCode, InvalidInput, ParentNotReady, Problem
from controller.evaluate.rescoring import with_scoring
from controller.lockfile.model import DataFacts, Entry, Lockfile, PartFacts
from controller.plan.actions import Blocked, BlockReason, Deferred
from controller.plan.actions.base import FREE
from controller.plan.approval import terms_of
from controller.plan.desired import DataChange, Desired, ParentBuild, Shutdown
from controller.plan.fingerprint import EVALUATION_SCHEME, evaluation_inputs, fingerprint
from controller.plan.starting.parents import base_origin, find_parents, find_waiting
from controller.plan.versions import holds
from controller.project.project import known_blobs
from controller.resolve.answers import Answers, OpenBackend
from controller.resolve.check_metrics import check_fit, fit_warnings
from controller.resolve.check_prompt import check_shots
from controller.resolve.gate_size import unanswerable
from controller.resolve.inputs import Readings, build_one, identify_base
from controller.resolve.moves import find_move, with_implied_gate
from controller.resolve.preflight import warnings_of
from controller.resolve.recipes import Recorded, Variant, choose
from controller.resolve.retain import check_tools, find_retained, retained_sizes
from controller.resolve.sheets import Sheets, sheet_digests, sheets_of, unknown_answers
from controller.resolve.validate import check_policies, check_spec, refuse
from controller.spec.load import LoadedSpec
from controller.spec.model import Spec
from controller.spec.settings import Policies

EarlierDatasets: TypeAlias = Callable[[], Mapping[tuple[str, str], DatasetSplits]]
"""Looks for the datasets that are here, by digests; once, since there may be thousands."""


class EvaluationFiles(NamedTuple):
    """Files that the evaluation of a fine-tune reads besides its dataset."""

    retained: Mapping[str, Split]
    """Examples of the files in `evaluation.retain`, by the file's name there."""
    sheets: Sheets
    """People's scores of answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Desired fine-tunes, and the requests to train them."""

    desired: Mapping[str, Desired]
    requests: Mapping[str, TrainRequest]
    """For the first attempt; a later one replaces the number."""
    datasets: Mapping[str, Dataset]
    files: Mapping[str, EvaluationFiles]
    """Files that evaluations read besides the datasets."""
    unresolved: Mapping[str, Deferred | Blocked]
    """Fine-tunes whose spec or data cannot be read here, and why."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every problem of every spec and data file."""
        blocked = [one for one in self.unresolved.values() if isinstance(one, Blocked)]
        return tuple(dict.fromkeys(problem for one in blocked for problem in one.problems))


def resolve(
    specs: Mapping[str, LoadedSpec],
    recorded: Recorded,
    readings: Readings,
    open_backend: OpenBackend,
    policies: Policies,
    problems: Mapping[str, Sequence[Problem]] = MappingProxyType({}),
) -> Resolved:
    """Build every dataset, identify every base model, compute every fingerprint.

    Problems of one fine-tune make only this fine-tune unresolved.

    Args:
        specs: The valid specs.
        recorded: The lockfile, and inputs known from elsewhere.
        readings: The repository, and the data already read in the same run.
        open_backend: Opens a backend by a spec's `place`.
        policies: Policies of the repository.
        problems: Problems of invalid specs, by fine-tune; those that a valid spec has with others
            or with a file of its own name, too.
    """
    desired: dict[str, Desired] = {}
    requests: dict[str, TrainRequest] = {}
    datasets: dict[str, Dataset] = {}
    files: dict[str, EvaluationFiles] = {}
    unresolved: dict[str, Deferred | Blocked] = {
        name: invalid(name, found) for name, found in problems.items() if name not in specs
    }
    parents, orphans = find_parents(specs, recorded.lockfile)
    readings, verified = _remembering(with_changes(readings, parents=parents))
    earlier = cache(partial(earlier_datasets, readings.project.state / "data"))
    for name, loaded in specs.items():
        entry = recorded.lockfile.finetunes.get(name, Entry())
        try:
            own = check_spec(loaded, open_backend, readings.answers)
            wrong = [*problems.get(name, ()), *orphans.get(name, ()), *own]
            refuse(wrong, list(check_policies(loaded, policies)))
            backend = open_backend(loaded.spec.place)
            variant = _choose(loaded, entry, backend, readings, recorded)
            dataset = variant.built.dataset
            judged = with_implied_gate(
                loaded, variant.fingerprint, entry, dataset, readings, open_backend
            )
            one, requests[name], files[name] = _resolve_one(
                judged, entry, readings, backend, variant, earlier
            )
            move = find_move(one, loaded.spec, entry, dataset, readings, open_backend)
            paid = one.paid or _asks_paid(one.spec, open_backend, readings.answers)
            desired[name], datasets[name] = with_changes(one, paid=paid, move=move), dataset
        except DataNotRead as error:
            unresolved[name] = _deferred(name, error)
        except InvalidInput as error:
            unresolved[name] = _refused(name, error)
        except BackendError as error:
            unresolved[name] = invalid(name, [error.problem(file=loaded.file)])
    verified.save()
    found = Resolved(
        desired=desired, requests=requests, datasets=datasets, files=files, unresolved=unresolved
    )
    return _without_waiting(found, recorded.lockfile)


def _without_waiting(found: Resolved, lockfile: Lockfile) -> Resolved:
    """Return the same with fine-tunes that wait for another one as unresolved."""
    waiting = {one.name: one for one in find_waiting(found.desired, lockfile)}
    desired = {name: one for name, one in found.desired.items() if name not in waiting}
    return with_changes(found, desired=desired, unresolved={**found.unresolved, **waiting})


def _remembering(readings: Readings) -> tuple[Readings, VerifiedDatasets]:
    """Return readings with what git and earlier passes know of the data."""
    project = readings.project
    verified = VerifiedDatasets(
        project.state / "datasets.json", project.root, project.state / "data"
    )
    return with_changes(readings, blobs=known_blobs(project.root), verified=verified), verified


def _choose(
    loaded: LoadedSpec,
    entry: Entry,
    backend: Backend,
    readings: Readings,
    recorded: Recorded,
) -> Variant:
    base_model = identify_base(loaded, entry, backend, readings)
    recipes = readings.answers.recipes(backend, loaded.spec, base_model)
    build = partial(build_one, loaded, base_model, backend, readings)
    return choose(loaded.name, loaded.spec, recipes, recorded, build)


def without_settings(specs: Iterable[str], error: InvalidInput) -> Resolved:
    """Return what is left where `ftctl.yaml` has problems: no fine-tune can be resolved.

    What is recorded of them stays as it is, and jobs on this machine are still followed.
    """
    unresolved = {name: invalid(name, error.problems) for name in specs}
    return Resolved(desired={}, requests={}, datasets={}, files={}, unresolved=unresolved)


def invalid(name: str, problems: Sequence[Problem], *, policy: bool = False) -> Blocked:
    """Return what is planned for a fine-tune whose spec or data has problems."""
    first, *others = sorted(problems, key=lambda one: (one.file, one.line or 0, one.field))
    field_ = f"{first.field}: " if first.field else ""
    more = f"; and {len(others)} more" if others else ""
    return Blocked(
        name=name,
        reason=f"{field_}{first.message}{more}",
        remedy="Type `ftctl plan`, which shows every problem with its file and line."
        if others or not first.remedy
        else first.remedy,
        block_reason=BlockReason.POLICY if policy else BlockReason.INPUT,
        problems=(first, *others),
    )


def _refused(name: str, error: InvalidInput) -> Blocked:
    return invalid(name, error.problems, policy=error.exit_code == ExitCode.REFUSED)


def _deferred(name: str, error: DataNotRead) -> Deferred:
    remedies = dict.fromkeys(problem.remedy for problem in error.problems if problem.remedy)
    if isinstance(error, ParentNotReady):
        reason = error.problems[0].message
        return Deferred(name=name, reason=reason, remedy="\n".join(remedies), parent=error.parent)
    return Deferred(
        name=name,
        reason=f"{error.subject}, known at apply: {error.reasons}",
        remedy="\n".join(remedies),
    )


def _resolve_one(
    loaded: LoadedSpec,
    entry: Entry,
    readings: Readings,
    backend: Backend,
    variant: Variant,
    earlier: EarlierDatasets,
) -> tuple[Desired, TrainRequest, EvaluationFiles]:
    built, inputs, key = variant.built, variant.inputs, variant.fingerprint
    spec, dataset, base_model = loaded.spec, built.dataset, built.base_model
    files = _evaluation_files(loaded, entry, readings, built.inspector)
    measured = _evaluation_inputs(spec, dataset, files)
    evaluation = fingerprint(EVALUATION_SCHEME, measured)
    parent = readings.parents.get(loaded.name)
    data = DataFacts(train=_facts(dataset.train), held_out=_facts(dataset.held_out))
    request = _request(loaded, variant, data, parent, terms_of(spec, evaluation))
    can, is_new = readings.answers.capabilities(backend, spec), key not in entry.builds
    refuse(list(_undecidable(loaded, dataset, files, is_new=is_new)), ())
    if not _is_recorded(entry, evaluation):
        refuse(list(unknown_answers(files.sheets, entry, readings.project)), ())
    state = readings.project.state
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
        estimate=_estimate(request, dataset, backend),
        memory=backend.memory(request) if is_new and spec.trains else None,
        data_changes=_data_changes(entry, dataset, earlier, state / "data") if is_new else {},
        parent=parent,
        shutdown=_shutdown(base_model),
        warnings=tuple(warnings_of(spec, dataset, built.inspector)) if is_new else (),
        corrected=variant.corrected,
        paid=can.paid or _asks_elsewhere(spec, entry),
    )
    desired = with_scoring(desired, entry, dataset.held_out.path, built.inspector, can)
    return _with_fit(desired, loaded, entry, dataset), request, files


def _request(
    loaded: LoadedSpec, variant: Variant, data: DataFacts, parent: ParentBuild | None, terms: str
) -> TrainRequest:
    """Return the request of the first attempt to train a spec."""
    spec, built = loaded.spec, variant.built
    dataset, base_model = built.dataset, built.base_model
    return TrainRequest(
        name=loaded.name,
        fingerprint=variant.fingerprint,
        attempt=1,
        base_model=with_changes(base_model, download_bytes=None),
        method=spec.method,
        hyperparameters=built.hyperparameters,
        seed=spec.seed,
        train=dataset.train.path,
        held_out=dataset.held_out.path,
        train_origins=dataset.train.origins,
        tracking=spec.tracking.model_dump(exclude_defaults=True),
        max_gpu_hours=spec.budget.max_gpu_hours,
        hardware=spec.hardware.asked,
        origin={
            "inputs": variant.inputs,
            **base_origin(spec.base_name, base_model.revision, parent),
            "data": data.model_dump(mode="json"),
            "terms": {"name": loaded.name, "digest": terms},
        },
    )


def _undecidable(
    loaded: LoadedSpec, dataset: Dataset, files: EvaluationFiles, *, is_new: bool
) -> Iterator[Problem]:
    """Yield what the examples are too few for: conditions of the gate, and those to be shown."""
    if is_new:
        yield from check_shots(loaded, dataset.train)
    sizes = retained_sizes(loaded.spec.evaluation.retain, files.retained)
    yield from unanswerable(loaded, dataset.held_out, sizes, is_new=is_new)


def _estimate(request: TrainRequest, dataset: Dataset, backend: Backend) -> Estimate:
    if not METHODS[request.method].trains:
        return Estimate(usd=FREE)
    return backend.estimate(request, dataset.train.examples, dataset.train.tokens)


def _with_fit(desired: Desired, loaded: LoadedSpec, entry: Entry, dataset: Dataset) -> Desired:
    """Return a spec's inputs with doubts that its metrics fit the held-out examples.

    Raises:
        InvalidInput: A metric cannot score them.
    """
    recorded = (build.evaluation for build in entry.builds.values())
    if any(one is not None and holds(one, desired) for one in recorded):
        return desired
    refuse(list(check_fit(loaded, dataset)), [])
    doubts = fit_warnings(loaded.spec, dataset)
    return with_changes(desired, warnings=(*desired.warnings, *doubts))


def _is_recorded(entry: Entry, evaluation: str) -> bool:
    recorded = (build.evaluation for build in entry.builds.values())
    return any(one is not None and one.fingerprint == evaluation for one in recorded)


def _evaluation_files(
    loaded: LoadedSpec, entry: Entry, readings: Readings, inspector: ExampleInspector
) -> EvaluationFiles:
    """Return what an evaluation reads besides the dataset.

    Raises:
        InvalidInput: With the problems of these files.
    """
    refuse(list(check_tools(loaded, inspector)), [])
    retained = find_retained(loaded, readings)
    return EvaluationFiles(retained, sheets_of(loaded, entry, readings.project))


def _evaluation_inputs(spec: Spec, dataset: Dataset, files: EvaluationFiles) -> dict[str, Json]:
    return evaluation_inputs(
        spec,
        held_out_digest=dataset.held_out.digest,
        train_digest=dataset.train.digest,
        column_digests=dataset.held_out.column_digests,
        retain_digests={name: file.digest for name, file in files.retained.items()},
        sheet_digests=sheet_digests(files.sheets),
    )


def _asks_elsewhere(spec: Spec, entry: Entry) -> bool:
    """Return whether evaluating asks the production model of another backend, which may cost."""
    production = entry.builds.get(entry.production or "")
    compared = "production" in spec.evaluation.roles
    return compared and production is not None and production.backend != spec.place


def _asks_paid(spec: Spec, open_backend: OpenBackend, answers: Answers) -> bool:
    """Return whether evaluating asks a model at a service that charges for it."""
    asked = [*spec.evaluation.rivals.values(), *spec.evaluation.judges.values()]
    places = {model.place(spec.place) for model in asked}
    return any(answers.capabilities_of(place, open_backend(place)).paid for place in sorted(places))


def _facts(part: Split) -> PartFacts:
    return PartFacts(digest=part.digest, examples=part.examples)


def _data_changes(
    entry: Entry, dataset: Dataset, earlier: EarlierDatasets, scratch: Path
) -> dict[str, DataChange]:
    """Count how the examples differ from recorded builds whose dataset is still here."""
    new = DatasetSplits(dataset.train, dataset.held_out)
    digests = {
        (build.data.train.digest, build.data.held_out.digest) for build in entry.builds.values()
    }
    changes: dict[str, DataChange] = {}
    for train, held_out in sorted(digests):
        old = earlier().get((train, held_out)) if train != new.train.digest else None
        if old is None:
            continue
        try:
            total = count_differences(old, new, scratch).total
        except (OSError, ValueError):
            # Lost or damaged since it was looked for: a plan is no less true without the counts.
            continue
        changes[train] = DataChange(added=total.added, removed=total.removed, changed=total.changed)
    return changes


def _shutdown(base_model: BaseModel) -> Shutdown | None:
    day = base_model.shutdown_date
    return None if day is None else Shutdown(date=day, days_left=days_until(day))
