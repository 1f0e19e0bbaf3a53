"""Order of a recording: prompts to ask, answers kept, and cost, before any request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backends.contract.completions import Prompt
from backends.contract.errors import BackendError, ModelMissing
from backends.contract.recording import AnswersEstimate
from controller.errors import FtctlError, InvalidInput
from controller.evaluate.answer_file import AnswerKey
from controller.evaluate.answer_store import AnswerStore
from controller.evaluate.compare import EvaluatedModel
from controller.evaluate.prompts.lazy import joined, picked
from controller.lockfile.model import Build, Entry, Lockfile
from controller.lockfile.store import read_lockfile
from controller.plan.actions import Blocked
from controller.plan.desired import Shutdown
from controller.project.project import Project
from controller.record.find import RecordOptions, wanted_of
from controller.record.wanted import Wanted
from controller.render.shutdowns import when
from controller.resolve.answers import OpenBackend
from controller.resolve.resolve import Resolved
from controller.run.backends import OpenFor, backend_opener, recorded_backends
from controller.run.load import RunInputs, load
from controller.run.shutdowns import find_ends, production_subject
from controller.run.stages import resolve_specs


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedModel:
    """A model, and all that is asked of it; fine-tunes that share it ask once."""

    names: tuple[str, ...]
    """The fine-tunes."""
    key: AnswerKey
    model: EvaluatedModel
    prompts: Sequence[Prompt]
    missing: int
    """Answers to ask for."""
    estimate: AnswersEstimate | None
    """Tokens and price of the missing answers; None if they cannot be estimated."""
    is_paid: bool
    """True if a service charges for answers, or a price is declared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOrder:
    """Everything that one run asks, writes and reports."""

    project: Project
    open_backend: OpenBackend
    store: AnswerStore
    wanted: Mapping[str, Wanted]
    """By fine-tune."""
    kept: Mapping[tuple[str, str], int]
    """Number of kept answers by fine-tune and part, before anybody is asked."""
    models: Sequence[SharedModel]
    """Models of which answers are missing, and which can be asked."""
    ends: Mapping[str, Shutdown]
    """Announced ends of the models, by fine-tune; only where something is missing."""
    failures: Mapping[str, FtctlError]
    """Fine-tunes of which nothing can be asked, and why."""
    without_production: Sequence[str]
    """Fine-tunes that have no model in production."""

    @property
    def missing(self) -> int:
        """Number of answers to ask for."""
        return sum(model.missing for model in self.models)

    @property
    def needs_approval(self) -> bool:
        """True if asking may cost something."""
        return any(model.is_paid for model in self.models)

    @property
    def usd(self) -> tuple[float, float] | None:
        """The least and the most that asking may cost; None if a price is not known."""
        least = most = 0.0
        for model in self.models:
            if not model.is_paid:
                continue
            usd = None if model.estimate is None else model.estimate.usd
            if usd is None:
                return None
            least, most = least + usd[0], most + usd[1]
        return least, most


@dataclass(slots=True)
class _Found:
    """What is known so far."""

    wanted: dict[str, Wanted] = field(default_factory=dict)
    failures: dict[str, FtctlError] = field(default_factory=dict)


def plan_record(
    project: Project,
    names: Sequence[str] | None,
    options: RecordOptions,
    open_for: OpenFor | None = None,
) -> RecordOrder:
    """Find out what is to be asked. Asks services for free only: ends, and stored completions.

    Args:
        project: The repository.
        names: The fine-tunes; None for all with a model in production.
        options: The wanted samples.
        open_for: Opens backends; None for the installed backends.

    Raises:
        InvalidInput: `ftctl.yaml` has problems.
        LockfileInvalid: The lockfile cannot be read.
        FtctlError: The only fine-tune has no model in production.
    """
    loaded = load(
        RunInputs(project=project, open_for=open_for or backend_opener(project, fetches=True))
    )
    if loaded.settings_error is not None:
        raise loaded.settings_error
    lockfile = read_lockfile(project.root, project.records)
    resolved = resolve_specs(loaded, lockfile)
    open_backend = recorded_backends(loaded.open_backend)
    store = AnswerStore(project.answers, project.recorded)
    chosen, without = _chosen(names, lockfile)
    found = _Found()
    for name, build in chosen.items():
        try:
            _require_resolved(name, resolved)
            found.wanted[name] = wanted_of(name, build, resolved, project, open_backend, options)
        except FtctlError as error:
            found.failures[name] = error
    kept = {
        (name, part.name): len(part.prompts) - len(store.missing(one.key, part.prompts))
        for name, one in found.wanted.items()
        for part in one.parts
    }
    groups = _groups(found.wanted, store)
    ends = _ends(groups, lockfile, open_backend, found.failures)
    asked = [
        _shared(key, group, store, open_backend, found.failures) for key, group in groups.items()
    ]
    return RecordOrder(
        project=project,
        open_backend=open_backend,
        store=store,
        wanted=found.wanted,
        kept=kept,
        models=[one for one in asked if one is not None],
        ends=ends,
        failures=found.failures,
        without_production=without,
    )


def _chosen(names: Sequence[str] | None, lockfile: Lockfile) -> tuple[dict[str, Build], list[str]]:
    """Return the builds in production, and the fine-tunes that have none.

    Raises:
        FtctlError: Of the named fine-tunes none has a model in production.
    """
    chosen: dict[str, Build] = {}
    without = []
    for name in sorted(lockfile.finetunes) if names is None else names:
        entry = lockfile.finetunes.get(name, Entry())
        build = entry.builds.get(entry.production or "")
        if build is None:
            without.append(name)
        else:
            chosen[name] = build
    if names is not None and not chosen:
        message = f"{', '.join(without)} has no model in production, which could say something"
        raise FtctlError(message, "Type `ftctl status`; `ftctl apply` trains and promotes.")
    return chosen, without


def _require_resolved(name: str, resolved: Resolved) -> None:
    """Refuse a fine-tune whose spec or data cannot be read.

    Raises:
        InvalidInput: They have problems.
        FtctlError: There is no spec, or its data cannot be read on this machine.
    """
    unresolved = resolved.unresolved.get(name)
    if isinstance(unresolved, Blocked) and unresolved.problems:
        raise InvalidInput(unresolved.problems)
    if unresolved is not None:
        raise FtctlError(unresolved.reason, unresolved.remedy)
    if name not in resolved.desired:
        message = "has a model in production and no spec, which says what to ask it"
        raise FtctlError(message, f"Restore finetunes/{name}.yaml from git.")


def _groups(wanted: Mapping[str, Wanted], store: AnswerStore) -> dict[AnswerKey, list[Wanted]]:
    """Return the models of which answers are missing, with the fine-tunes that share them."""
    groups: dict[AnswerKey, list[Wanted]] = {}
    for one in wanted.values():
        if store.missing(one.key, one.prompts):
            groups.setdefault(one.key, []).append(one)
    return groups


def _ends(
    groups: Mapping[AnswerKey, Sequence[Wanted]],
    lockfile: Lockfile,
    open_backend: OpenBackend,
    failures: dict[str, FtctlError],
) -> dict[str, Shutdown]:
    """Return when models are switched off; models that are gone are noted as failures."""
    names = [one.name for group in groups.values() for one in group]
    subjects = [production_subject(name, lockfile.finetunes[name]) for name in names]
    found = find_ends([one for one in subjects if one is not None], open_backend)
    ends = found.of_production()
    for one in (one for group in groups.values() for one in group):
        end, place = ends.get(one.name), one.model.place
        if end is not None and end.gone:
            failures[one.name] = ModelMissing(f"the model is gone: {end.source}")
        elif place in found.silent | found.without_key:
            failures[one.name] = _unasked(found.unasked[place], end)
    return ends


def _unasked(why: str, end: Shutdown | None) -> BackendError:
    """Return why a service that gave no answer is not asked."""
    if end is not None and end.days_left < 0:
        return ModelMissing(f"the model was switched off {when(end)} ({end.source}): {why}")
    return BackendError(why)


def _shared(
    key: AnswerKey,
    group: Sequence[Wanted],
    store: AnswerStore,
    open_backend: OpenBackend,
    failures: dict[str, FtctlError],
) -> SharedModel | None:
    """Return what is asked of a model, and what it costs; None if nobody can ask it."""
    askable = [one for one in group if one.name not in failures]
    if not askable:
        return None
    model, prompts = askable[0].model, joined([one.prompts for one in askable])
    missing = store.missing(key, prompts)
    try:
        is_paid, estimate = _estimated(model, picked(prompts, missing), open_backend)
    except FtctlError as error:
        failures.update(dict.fromkeys((one.name for one in askable), error))
        return None
    return SharedModel(
        names=tuple(one.name for one in askable),
        key=key,
        model=model,
        prompts=prompts,
        missing=len(missing),
        estimate=estimate,
        is_paid=is_paid,
    )


def _estimated(
    model: EvaluatedModel, prompts: Sequence[Prompt], open_backend: OpenBackend
) -> tuple[bool, AnswersEstimate | None]:
    backend = open_backend(model.place)
    estimate = backend.estimate_answers(model.base_model, model.model_id, prompts, model.sampling)
    is_priced = estimate is not None and estimate.price is not None
    return backend.capabilities().paid or is_priced, estimate
