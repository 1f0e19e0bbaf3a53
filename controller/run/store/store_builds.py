"""Builds of this machine that the store lacks, written to it at the end of a pass.

What a run trained is recorded before. A store that does not answer loses nothing: the next run, on
this machine, writes what is missing.
"""

from collections.abc import Iterator, Mapping
from functools import partial

from backends.contract.errors import BackendError
from backends.stores.objects import StoreError
from controller.errors import ExitCode, FtctlError
from controller.lockfile.model import Build, Entry, Stored
from controller.lockfile.store import LockedLockfile, read_lockfile
from controller.plan.actions import Evaluate
from controller.plan.fingerprint import short_id
from controller.render.text import file_size
from controller.resolve.answers import OpenBackend
from controller.run.stages import PreparedRun
from controller.run.state import Run
from controller.state_folder import refused_by_system
from controller.store.builds import ModelStore, answer_files, is_here, push_build
from controller.store.fetching import on_this_machine
from controller.store.privacy import named_builds, privacy_of


def store_of(prepared: PreparedRun) -> ModelStore | None:
    """Return the store of a run; None if none is declared, or `ftctl.yaml` cannot be read."""
    loaded = prepared.loaded
    settings, project = loaded.settings.store, loaded.inputs.project
    if settings is None or loaded.settings_error is not None or project.offline:
        return None
    return ModelStore(project=project, settings=settings)


def is_to_store(prepared: PreparedRun) -> bool:
    """Return True if this machine has a build that belongs in the store and is not there."""
    store = store_of(prepared)
    if store is None:
        return False
    project = store.project
    entries = read_lockfile(project.root, project.records).finetunes
    return bool(to_store(store, entries, prepared.open_backend))


def to_store(
    store: ModelStore, entries: Mapping[str, Entry], open_backend: OpenBackend
) -> list[tuple[str, Build]]:
    """Return the builds that a run on this machine would write to the store."""
    found = list(_unstored(store, entries, open_backend))
    privacy = privacy_of(store.project, store.settings) if found else None
    return [
        (name, build)
        for name, build in found
        if privacy is not None and privacy.refusal(name, build) is None
    ]


def store_builds(run: Run, lockfile: LockedLockfile) -> None:
    """Write to the store what it lacks of this machine's builds, and record that it has it."""
    store = store_of(run.prepared)
    if store is None or run.result.store_failed:
        return
    evaluated = {
        (outcome.action.name, outcome.action.fingerprint)
        for outcome in run.result.outcomes
        if isinstance(outcome.action, Evaluate)
    } - run.stored_answers
    missing = list(_unstored(store, lockfile.entries, run.prepared.open_backend))
    again = [
        (name, build)
        for name, build in named_builds(lockfile.entries)
        if (name, build.fingerprint) in evaluated and (name, build) not in missing
    ]
    privacy = privacy_of(store.project, store.settings) if missing or again else None
    for name, build in [*missing, *again]:
        refusal = privacy.refusal(name, build) if privacy is not None else None
        if refusal is not None:
            run.tell_once(f"{refusal.one_line}")
            continue
        if not _store(run, store, lockfile, name, build):
            return
        run.stored_answers.add((name, build.fingerprint))


def _store(run: Run, store: ModelStore, lockfile: LockedLockfile, name: str, build: Build) -> bool:
    """Write one build to the store; return False if the store failed."""
    reporter, short = run.reporter, short_id(build.fingerprint)
    report = partial(reporter.transfer, name, f"storing build {short}")
    try:
        backend = on_this_machine(run.prepared.open_backend(build.backend))
        stored = push_build(store, build, backend, report)
    except (FtctlError, OSError) as error:
        run.result.store_failed = ExitCode.ERROR
        if isinstance(error, BackendError) and not isinstance(error, StoreError):
            reporter.notice(f"{name}: build {short} is not in the store: {error.one_line}")
            return True
        found = (
            error
            if isinstance(error, FtctlError)
            else refused_by_system(error, store.project.state)
        )
        reporter.notice(
            f"{name}: build {short} is not in the store: {found.one_line} "
            "It is recorded, and the next `ftctl apply` on this machine stores it."
        )
        return False
    if stored == build.stored:
        return True
    record_stored(lockfile, build, stored)
    size = f", {file_size(stored.bytes)}" if stored.model is not None else ""
    reporter.told(f"{name}: build {short} is in the store {store.settings.url}{size}")
    return True


def record_stored(lockfile: LockedLockfile, build: Build, stored: Stored | None) -> None:
    """Record the copies of a build, in every fine-tune that has it.

    Raises:
        FtctlError: The disk refused.
    """
    for name, entry in list(lockfile.entries.items()):
        known = entry.builds.get(build.fingerprint)
        if known is None or known.model_id != build.model_id or known.stored == stored:
            continue
        copied = known.model_copy(update={"stored": stored})
        builds = {**entry.builds, build.fingerprint: copied}
        lockfile.record(name, entry.model_copy(update={"builds": builds}))


def _unstored(
    store: ModelStore, entries: Mapping[str, Entry], open_backend: OpenBackend
) -> Iterator[tuple[str, Build]]:
    """Yield the builds of which this machine has something that the store lacks, each once."""
    seen: set[tuple[str, str]] = set()
    for name, build in named_builds(entries):
        key, stored = (build.fingerprint, build.model_id), build.stored or Stored()
        entry = entries[name]
        is_dormant = build.fingerprint not in {entry.production, entry.candidate}
        if key in seen or (stored.pruned and is_dormant):
            continue
        seen.add(key)
        is_measured = build.evaluation is not None and stored.answers is None
        if (is_measured and answer_files(store.project, build)) or (
            stored.model is None and _is_here(build, open_backend)
        ):
            yield name, build


def _is_here(build: Build, open_backend: OpenBackend) -> bool:
    try:
        return bool(is_here(build, on_this_machine(open_backend(build.backend))))
    except FtctlError:
        return False  # a backend that cannot be opened is the plan's to report
