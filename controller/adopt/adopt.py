"""Take over a hosted model: data, spec, and the recorded build, in this order.

Every step can be repeated: what an earlier run did is found, and nothing is overwritten. A run that
dies leaves whole files only, and the next run continues.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from glob import has_magic

from backends.contract.inventory import HostedModel
from backends.contract.jobs import JobState
from controller.adopt.builds import Provenance, adopted_build, is_of_model, with_adopted
from controller.adopt.context import Adopting, Work
from controller.adopt.data import gather_data
from controller.adopt.files import put_spec, remove
from controller.adopt.hosted_spec import (
    HeldOut,
    KeptData,
    can_be_alias,
    declared_facts,
    differences,
    hosted_spec,
    name_problem,
    problems_of,
    verified_facts,
)
from controller.adopt.names import hosted_name
from controller.adopt.spec_text import AdoptedSpec, load_adopted, spec_text
from controller.data.dataset import Dataset
from controller.dates import timestamp
from controller.errors import FtctlError, InvalidInput, Problem
from controller.lockfile.model import Entry, Lockfile
from controller.lockfile.store import lock_lockfile, read_lockfile
from controller.plan.actions import Blocked
from controller.plan.desired import Desired
from controller.render.hosted import AdoptedView
from controller.resolve.aliases import alias_problems
from controller.resolve.inputs import Readings
from controller.resolve.recipes import Recorded
from controller.resolve.resolve import Resolved, resolve
from controller.spec.data import SplitName
from controller.spec.load import ENDING, FOLDER, LoadedSpec, spec_names

_PURPOSE = "adopt"


def _recorded(adopting: Adopting, hosted: HostedModel, lockfile: Lockfile) -> set[str]:
    """Return the fine-tunes that a hosted model is recorded for."""
    return {
        name
        for name, entry in lockfile.finetunes.items()
        if any(is_of_model(build, hosted, adopting.place) for build in entry.builds.values())
    }


def _own_jobs(hosted: HostedModel, declared: Collection[str], lockfile: Lockfile) -> set[str]:
    """Return the fine-tunes of this repository whose job this is; ftctl records it by itself."""
    entries = lockfile.finetunes
    open_jobs = {
        name for name, entry in entries.items() if entry.job and entry.job.id == hosted.job_id
    }
    # Of a fine-tune without a record, `plan` finds the jobs again.
    lost = {hosted.made_for} if hosted.made_for in declared else set[str | None]()
    return open_jobs | {name for name in lost if name is not None and name not in entries}


def adopt(adopting: Adopting, hosted: HostedModel, wanted: str | None = None) -> AdoptedView:
    """Take over one hosted model; nothing is trained, and nothing is spent.

    Args:
        adopting: Where from, and where to.
        hosted: The model.
        wanted: Name of the fine-tune; None to make one from the suffix or the model ID.

    Raises:
        InvalidInput: With every problem of its spec and data. Nothing was written.
        FtctlError: It cannot be taken over. Nothing was written.
    """
    lockfile = read_lockfile(adopting.project.root, adopting.project.records)
    declared, mine = spec_names(adopting.project.root), _recorded(adopting, hosted, lockfile)
    for known in sorted(mine.intersection(declared) | _own_jobs(hosted, declared, lockfile)):
        return AdoptedView(model_id=hosted.model_id or "", name=known, is_new=False)
    require_model(hosted)
    own = own_spec(adopting.specs, hosted)
    # A spec that was removed may be written again under its name.
    taken = {*declared, *lockfile.finetunes} - mine
    name = own.name if own is not None else _choose_name(hosted, wanted, taken)
    if own is not None and wanted not in {None, own.name}:
        message = f"{own.file} names {hosted.model_id} in its aliases already"
        raise FtctlError(message, f"Leave out --name, or remove the alias from {own.file}.")
    work = Work(hosted=hosted, name=name, is_declared=own is not None)
    if own is not None:
        work.paths.update(_paths_of(own))
    try:
        return _adopt(adopting, work, own, lockfile)
    except FtctlError as error:
        remove(work.written)
        if isinstance(error, InvalidInput) and work.fetched:
            raise InvalidInput([*error.problems, _set_aside(adopting, work)]) from None
        raise


def require_model(hosted: HostedModel) -> None:
    """Require that a job made a model that is still there.

    Raises:
        FtctlError: It made none.
    """
    if hosted.model_id is not None and hosted.state is JobState.SUCCEEDED:
        if hosted.is_listed is False:
            message = f"the model {hosted.model_id} is not among the models of the service"
            remedy = (
                "Check `organization` and `project` of the endpoint; else it was deleted or switched "
                "off."
            )
            raise FtctlError(message, remedy)
        return
    message = f"job {hosted.job_id} has no model: it "
    if hosted.state is JobState.CANCELLED:
        raise FtctlError(f"{message}was cancelled", "Name a job that succeeded.")
    if hosted.state is JobState.FAILED:
        why = f": {hosted.error}" if hosted.error else ""
        raise FtctlError(f"{message}failed{why}", "Name a job that succeeded.")
    raise FtctlError(f"{message}is {hosted.state}", "Wait until the job has ended, then try again.")


def own_spec(specs: Mapping[str, LoadedSpec], hosted: HostedModel) -> LoadedSpec | None:
    """Return the spec that stands for a hosted model: its aliases have the model ID."""
    found = (one for one in specs.values() if hosted.model_id in one.spec.aliases)
    return next(found, None)


def _set_aside(adopting: Adopting, work: Work) -> Problem:
    """Return where refused data is, and how it can be adopted all the same."""
    root = adopting.project.root
    shown = (path.relative_to(root) if path.is_relative_to(root) else path for path in work.fetched)
    kept = " and ".join(map(str, shown))
    file = f"{FOLDER}/{work.name}{ENDING}"
    return Problem(
        file=file,
        message=f"was not written; the data waits as {kept}",
        remedy=(
            f"Write {file} with `aliases: [{work.hosted.model_id}]`, what the job reports, and "
            "`unusable: drop` beside the `path` of data with unusable rows; then run this command "
            "again."
        ),
    )


def _choose_name(hosted: HostedModel, wanted: str | None, taken: Collection[str]) -> str:
    proposal = hosted_name(hosted.model_id or "", hosted.suffix, taken, hosted.base_model)
    if wanted is None:
        return proposal
    if (wrong := name_problem(wanted, proposal)) is not None:
        raise FtctlError(*wrong)
    if wanted in taken:
        message = f"{wanted} is the name of another fine-tune"
        raise FtctlError(message, f"Use another name: --name {proposal}")
    return wanted


def _adopt(
    adopting: Adopting,
    work: Work,
    own: LoadedSpec | None,
    lockfile: Lockfile,
) -> AdoptedView:
    data = gather_data(adopting, work)
    candidates = [*_candidates(adopting, work, data)]
    if own is not None:
        _require_same(own, candidates[0][0])
        candidates = [(candidates[0][0], _held_out_of(own))]
    problems: InvalidInput | None = None
    for adopted, held_out in candidates:
        loaded = own or load_adopted(adopting.project.root, adopted)
        try:
            desired, found = resolved_as_planned(adopting, loaded, lockfile)
        except InvalidInput as error:
            problems = problems or error
            continue
        dataset = found.datasets.get(work.name)
        if own is None and data.train is not None and not _holds_out(dataset):
            continue
        if own is None:
            put_spec(adopting.project, adopted.file, spec_text(adopted))
            adopting.specs[work.name] = loaded
        return _record(adopting, work, desired, dataset, data, held_out)
    if problems is not None:
        raise problems
    message = f"{work.hosted.model_id}: no example is left to be held out"
    raise FtctlError(message, "Write a spec by hand, with held-out examples of its own.")


def _candidates(
    adopting: Adopting, work: Work, data: KeptData
) -> Iterator[tuple[AdoptedSpec, HeldOut]]:
    """Yield specs of a model, the best choice of held-out examples first."""
    forms: list[HeldOut] = ["fraction", "training"]
    if data.train is None:
        forms = ["validation"]
    else:
        if wrong := [*problems_of(work.hosted)]:
            raise FtctlError(f"of {work.hosted.model_id} {wrong[0][0]}", wrong[0][1])
        if data.validation is not None:
            forms = ["validation", *forms]
    for held_out in forms:
        yield (
            hosted_spec(
                work.hosted,
                name=work.name,
                endpoint=adopting.endpoint,
                data=data,
                held_out=held_out,
            ),
            held_out,
        )


def _holds_out(dataset: Dataset | None) -> bool:
    return dataset is not None and dataset.held_out.examples > 0


def _require_same(own: LoadedSpec, adopted: AdoptedSpec) -> None:
    """Refuse to record a model as the result of inputs that it was not made from.

    Raises:
        FtctlError: The spec asks for something else.
    """
    if differing := list(differences(own.spec, adopted)):
        message = f"{own.file} stands for this model, but asks for another: {'; '.join(differing)}"
        remedy = (
            "Restore the spec as it was adopted, adopt, then change it again; or remove the model "
            "from its aliases and adopt the model under another name."
        )
        raise FtctlError(message, remedy)


def _paths_of(own: LoadedSpec) -> Iterator[tuple[SplitName, str]]:
    """Yield the file of each split of a spec that a person may have changed, if it has one file."""
    data = own.spec.data
    for split, sources in (("train", data.train), ("held_out", data.held_out)):
        path = sources[0].path if isinstance(sources, list) and len(sources) == 1 else None
        if path is not None and not has_magic(path):
            yield ("train" if split == "train" else "held_out"), path


def _held_out_of(own: LoadedSpec) -> HeldOut:
    data = own.spec.data
    if data.fraction is not None:
        return "fraction"
    train = {source.path for source in data.train}
    held_out = {source.path for split, _, source in data.numbered_sources() if split == "held_out"}
    return "training" if held_out & train else "validation"


def resolved_as_planned(
    adopting: Adopting,
    loaded: LoadedSpec,
    lockfile: Lockfile,
) -> tuple[Desired, Resolved]:
    """Resolve a spec as the next plan will.

    Raises:
        InvalidInput: With every problem of the spec and its data.
    """
    project, settings, name = adopting.project, adopting.settings, loaded.name
    others, bases = {**adopting.specs, name: loaded}, settings.serve.base_models
    problems = alias_problems(others, adopting.unread, lockfile, bases)
    resolved = resolve(
        {name: loaded},
        Recorded(lockfile=lockfile),
        Readings(project=project),
        adopting.open_backend,
        settings.policies,
        {name: problems.get(name, [])},
    )
    if name in resolved.desired:
        return resolved.desired[name], resolved
    wrong = resolved.unresolved[name]
    if isinstance(wrong, Blocked) and wrong.problems:
        raise InvalidInput(wrong.problems)
    raise FtctlError(wrong.reason, wrong.remedy)


def _record(
    adopting: Adopting,
    work: Work,
    desired: Desired,
    dataset: Dataset | None,
    data: KeptData,
    held_out: HeldOut,
) -> AdoptedView:
    """Put the build into the lockfile; whatever else is recorded stays."""
    project, hosted = adopting.project, work.hosted
    kept = [one for one in (data.train, data.validation) if one is not None and one.sha256]
    provenance = Provenance(
        verified=verified_facts(hosted, data),
        declared=declared_facts(hosted, data, held_out),
        files=kept,
        submitted=timestamp(hosted.created_s),
        finished=timestamp(hosted.finished_s or hosted.created_s),
    )
    build = adopted_build(hosted, desired, provenance)
    with lock_lockfile(
        project.root, project.records, timeout_s=adopting.lock_timeout_s, purpose=_PURPOSE
    ) as lockfile:
        entry = lockfile.entries.get(work.name, Entry())
        lockfile.record(work.name, with_adopted(entry, build))
    remarks = [*work.remarks, *([] if dataset is None else _about(dataset))]
    if data.train is not None and held_out != "validation":
        remarks.append("The held-out examples were training examples of this model.")
    if not can_be_alias(hosted.model_id or "", work.name):
        remarks.append(f"Callers reach it as {work.name}: its model ID cannot be an alias.")
    return AdoptedView(
        model_id=build.model_id,
        name=work.name,
        is_new=True,
        files=[desired.file, *(f"{FOLDER}/{one.path}" for one in kept)],
        verified=provenance.verified,
        declared=provenance.declared,
        remarks=remarks,
    )


def _about(dataset: Dataset) -> Iterator[str]:
    """Yield what the data pipeline did with the rows."""
    train, held_out = dataset.train.examples, dataset.held_out.examples
    if train or held_out:
        yield f"Examples: {train:,} for training, {held_out:,} held out."
    for step in dataset.report.steps:
        if step.name == "deduplicate" and step.dropped:
            yield (
                f"{step.dropped:,} rows are equal to earlier ones and are left out "
                "(`data.prepare.deduplicate`)."
            )
        elif step.name == "leak" and step.noted:
            yield f"{step.noted:,} training rows ask what a held-out row asks."


def with_base_model(hosted: HostedModel, base_model: str | None) -> HostedModel:
    """Return a hosted model with the base model that a person names, where the service has none.

    Raises:
        FtctlError: The service names another one.
    """
    if base_model is None or base_model == hosted.base_model:
        return hosted
    if hosted.base_model:
        message = f"the service reports the base model {hosted.base_model}, not {base_model}"
        raise FtctlError(message, "Leave out --base_model.")
    return replace(hosted, base_model=base_model)
