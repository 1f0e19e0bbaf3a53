"""The stages of a walk between its first and its last: resolve → observe → plan.

Each stage is a function of what the stages before it returned.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from controller.errors import InvalidInput, PolicyBroken
from controller.lockfile.early import EarlyBuild, early_builds
from controller.lockfile.model import Entry, Lockfile
from controller.lockfile.pulls import read_pulls
from controller.plan.actions import Blocked, BlockReason
from controller.plan.approvals.held import cost_notes
from controller.plan.desired import Desired
from controller.plan.observed import Observed
from controller.plan.plan import Plan, make_plan
from controller.resolve.aliases import alias_problems
from controller.resolve.answers import OpenBackend
from controller.resolve.inputs import Readings
from controller.resolve.recipes import Elsewhere, Recorded
from controller.resolve.resolve import Resolved, resolve, without_settings
from controller.run.backends import recorded_backends
from controller.run.load import Loaded
from controller.run.observe import observe
from controller.run.store.absent import find_absent
from controller.spec.settings import decided_by


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRun:
    """A plan, with what carrying it out needs."""

    loaded: Loaded
    resolved: Resolved
    plan: Plan

    @property
    def desired(self) -> Mapping[str, Desired]:
        """Inputs that the specs ask for."""
        return self.resolved.desired

    @property
    def open_backend(self) -> OpenBackend:
        """Opens the backends that specs and lockfile name."""
        return recorded_backends(self.loaded.open_backend)


def resolve_specs(
    loaded: Loaded, recorded: Lockfile, elsewhere: Elsewhere = MappingProxyType({})
) -> Resolved:
    """Build every dataset, identify every base model, compute every fingerprint."""
    if loaded.settings_error is not None:
        return without_settings([*loaded.specs, *loaded.problems], loaded.settings_error)
    inputs, problems = loaded.inputs, {name: [*found] for name, found in loaded.problems.items()}
    bases = loaded.settings.serve.base_models
    for name, found in alias_problems(loaded.specs, loaded.problems, recorded, bases).items():
        problems.setdefault(name, []).extend(found)
    return resolve(
        loaded.specs,
        Recorded(lockfile=recorded, elsewhere=elsewhere, replace=inputs.replace),
        Readings(project=inputs.project, fetched=inputs.fetched),
        loaded.open_backend,
        policies=loaded.settings.policies,
        problems=problems,
    )


def observe_all(
    loaded: Loaded, recorded: Lockfile, resolved: Resolved
) -> tuple[Resolved, Observed]:
    """Query the backends and git.

    Entries that the lockfile lost may have used an older recipe. What is known of them resolves the
    specs again, so that equal inputs match.
    """
    observed = _observe(loaded, recorded, resolved)
    if observed.elsewhere:
        again = resolve_specs(loaded, recorded, observed.elsewhere)
        if _wanted(again) != _wanted(resolved):
            return again, _observe(loaded, recorded, again)
    return resolved, observed


def _observe(loaded: Loaded, recorded: Lockfile, resolved: Resolved) -> Observed:
    open_backend = recorded_backends(loaded.open_backend)
    has_store = loaded.settings.store is not None
    observed = observe(
        resolved,
        recorded,
        open_backend,
        loaded.inputs.project,
        display_only=loaded.inputs.display_only,
        without_endpoints=not loaded.has_endpoints,
    )
    wanted = {desired.fingerprint for desired in resolved.desired.values()}
    early, remarks = _early(loaded, recorded, wanted)
    entries = {**recorded.finetunes, **_as_entries(early)}
    absent = find_absent(entries, open_backend, wanted, has_store=has_store)
    if not loaded.inputs.display_only:
        # A model that only another machine has is no help here: this one looks for its job, or trains.
        early = {
            key: one
            for key, one in early.items()
            if (one.build.backend, one.build.model_id) not in absent
        }
    return replace(observed, absent=absent, early=early, remarks={**observed.remarks, **remarks})


def _early(
    loaded: Loaded, recorded: Lockfile, wanted: Collection[str]
) -> tuple[dict[str, EarlyBuild], dict[str, str]]:
    """Return builds of pull requests that specs ask for, and remarks on records that are unreadable.

    Git is asked only where something is not recorded.
    """
    known = {key for entry in recorded.finetunes.values() for key in entry.builds}
    if known.issuperset(wanted):
        return {}, {}
    pulls = read_pulls(loaded.inputs.project.root)
    builds = early_builds(pulls.records)
    remarks = {
        ref: f"what was trained for a pull request cannot be read: {why}"
        for ref, why in pulls.unreadable.items()
    }
    return {key: one for key, one in builds.items() if key in wanted and key not in known}, remarks


def _as_entries(early: Mapping[str, EarlyBuild]) -> dict[str, Entry]:
    """Return builds of pull requests as entries, under names that no fine-tune has."""
    return {
        f"{one.name}@pr-{one.pull}": Entry(builds={key: one.build}) for key, one in early.items()
    }


def _wanted(resolved: Resolved) -> dict[str, str]:
    return {name: desired.fingerprint for name, desired in resolved.desired.items()}


def plan_pass(
    loaded: Loaded, recorded: Lockfile, resolved: Resolved, observed: Observed
) -> PreparedRun:
    """Decide what one pass does."""
    plan = make_plan(
        resolved.desired,
        recorded,
        observed,
        loaded.settings.budget.max_usd,
        resolved.unresolved,
        decided_by(loaded.settings),
    )
    costly = cost_notes(plan.actions, loaded.settings.budget.approve_above_usd)
    plan = replace(plan, replace=frozenset(loaded.inputs.replace), notes=(*plan.notes, *costly))
    return PreparedRun(loaded=loaded, resolved=resolved, plan=plan)


def require_readable(prepared: PreparedRun) -> None:
    """Refuse to continue where not one spec can be read, and nothing else is to be done.

    Raises:
        InvalidInput: With every problem of every spec and data file.
    """
    actions, resolved = prepared.plan.actions, prepared.resolved
    blocked = [action for action in actions if isinstance(action, Blocked) and action.problems]
    if not blocked or resolved.desired or len(blocked) < len(actions):
        return
    if all(action.block_reason is BlockReason.POLICY for action in blocked):
        raise PolicyBroken(resolved.problems)
    raise InvalidInput(resolved.problems)
