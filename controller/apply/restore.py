"""A fine-tune whose entry was lost or renamed, recorded again."""

from backends.contract.errors import BackendError
from controller.apply.context import ApplyContext, Result, with_changes
from controller.apply.evaluate import measured
from controller.lockfile.model import Build, Entry
from controller.plan.actions import Restore
from controller.plan.fingerprint import short_id
from controller.plan.overview import pinned_builds


def restore(action: Restore, context: ApplyContext) -> Result:
    """Record every build that is known, and which one is in production.

    A backend knows nothing of promotions. Where only it is left, the pinned build goes into
    production, else the newest build that passes the gate: what was promoted last passed it.
    """
    entry = action.entry
    if action.source is not None:
        # Recorded under its old name until this moment, in this pass too.
        entry = context.lockfile.entries.get(action.source, entry)
    how = "as recorded before"
    if not action.is_certain:
        entry, how = _with_production(action.name, entry, context)
    entries: dict[str, Entry | None] = {action.name: entry}
    if action.source is not None:
        entries[action.source] = None
    count = len(entry.builds)
    where = (
        f"{short_id(entry.production)} in production" if entry.production else "none in production"
    )
    message = f"{count} build{'' if count == 1 else 's'} recorded again, {where}: {how}"
    return Result(message=message, entries=entries)


def _with_production(name: str, entry: Entry, context: ApplyContext) -> tuple[Entry, str]:
    desired = context.desired(name)
    pin = desired.spec.lifecycle.pin
    pinned = pinned_builds(pin, entry) if pin is not None else []
    if len(pinned) == 1:
        return with_changes(entry, production=pinned[0]), "it is pinned"
    builds = dict(entry.builds)
    newest = sorted(builds.values(), key=lambda build: (build.finished, build.job), reverse=True)
    silent: list[str] = []
    for build in newest:
        try:
            builds[build.fingerprint] = _scored(name, build, entry, context)
        except BackendError as error:
            silent.append(f"{short_id(build.fingerprint)} could not be measured ({error.message})")
            continue
        verdict = builds[build.fingerprint].verdict
        if verdict is not None and verdict.passed:
            how = "; ".join(["it is the newest that passes the gate", *silent])
            restored = with_changes(entry, builds=builds, production=build.fingerprint)
            return _with_candidate(restored, desired.fingerprint), how
    restored = _with_candidate(with_changes(entry, builds=builds), desired.fingerprint)
    return restored, "; ".join(["no build passes the gate", *silent])


def _scored(name: str, build: Build, entry: Entry, context: ApplyContext) -> Build:
    desired = context.desired(name)
    backend = context.open_backend(desired.spec.place)
    silent = "base" in desired.spec.evaluation.roles and not backend.answers(desired.base_model)
    return measured(name, build, entry, context, without_base=silent)


def _with_candidate(entry: Entry, target: str) -> Entry:
    """Return an entry whose candidate is the build that the spec asks for, unless it is production."""
    if target in entry.builds and target != entry.production:
        return with_changes(entry, candidate=target)
    return entry
