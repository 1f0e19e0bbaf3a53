"""Desired, recorded, observed → the actions of one pass. Pure: the heart of ftctl.

One pass moves each fine-tune by one step, so a run may die anywhere and the next one goes on.
Decided from state, never from history.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from backends.contract.jobs import Job, JobState
from controller.lockfile.model import Entry, Lockfile
from controller.plan.actions import (
    Action,
    Blocked,
    Deferred,
    Desired,
    Obstacle,
    Record,
    Restore,
    Retire,
)
from controller.plan.approval import decisions_of, plan_id
from controller.plan.budget import within_budget
from controller.plan.observed import Lost, Observed
from controller.plan.planner import Planner, pinned_builds
from controller.plan.recording import after_job
from controller.plan.surroundings import Surroundings, cancellation, surroundings_of
from controller.plan.versions import notes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The actions of one pass, sorted by fine-tune."""

    actions: tuple[Action, ...]
    specs: int
    """Number of declared fine-tunes."""
    decisions: Mapping[str, str] = field(default_factory=dict)
    """Digest of what a person decided in each spec that could be read: inputs, evaluation, gate,
    lifecycle, budget."""
    settings: str = ""
    """Digest of what a person decided in `ftctl.yaml`: the budget, and which servers are meant."""
    budget_usd: float | None = None
    suspended: tuple[str, ...] = ()
    """Fine-tunes that are as declared, and suspended."""
    corrected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Inputs that a newer recipe would make differently, by fine-tune; recorded builds stay."""
    replace: frozenset[str] = frozenset()
    """Fine-tunes whose builds of an older recipe the user asked to replace."""
    unasked: Mapping[str, str] = field(default_factory=dict)
    """Places that were not asked, and why."""
    jobs: Mapping[str, Job] = field(default_factory=dict)
    """Recorded open jobs as the backends showed them, by ID."""
    notes: tuple[str, ...] = ()
    """Remarks for the user that lead to no action."""

    @property
    def id(self) -> str:
        """Digest of everything a person decides by; what `apply --expect` compares.

        What happens by itself changes nothing: how far a job has come, and what it came to.
        """
        return plan_id(self.actions, self.decisions, self.settings)

    def of(self, name: str) -> Action | None:
        """Return the action of one fine-tune."""
        return next((action for action in self.actions if action.name == name), None)


def make_plan(
    desired: Mapping[str, Desired],
    recorded: Lockfile,
    observed: Observed,
    budget_usd: float | None = None,
    unresolved: Mapping[str, Deferred | Blocked] = MappingProxyType({}),
    settings: str = "",
) -> Plan:
    """Decide what one pass does.

    Args:
        desired: What the specs ask for, by name.
        recorded: The lockfile.
        observed: What the backends answered about recorded open jobs and wanted fingerprints.
        budget_usd: What all jobs may cost together, open ones counted; None for no limit.
        unresolved: Fine-tunes whose spec or data cannot be read here, by name.
        settings: Digest of what a person decided in `ftctl.yaml`.

    Returns:
        One action for each fine-tune that is not as declared. Where that records a job or restores
        an entry, also the one that follows, if it needs approval: a person must see it in the same
        list.
    """
    view = _View(desired=desired, recorded=recorded, observed=observed, unresolved=unresolved)
    actions = [action for name in view.names for action in view.actions(name)]
    if budget_usd is not None:
        actions = list(within_budget(budget_usd, actions, recorded))
    return Plan(
        actions=tuple(actions),
        specs=len(view.around.declared),
        decisions=_Decisions(desired),
        settings=settings,
        budget_usd=budget_usd,
        suspended=tuple(view.suspended(actions)),
        corrected={name: one.corrected for name, one in desired.items() if one.corrected},
        unasked=observed.unasked,
        jobs=observed.jobs,
        notes=tuple(notes(desired, recorded)),
    )


def describe_end(job: Job) -> str:
    """Return how a job ended: `job run-1 has succeeded`."""
    verb = "was" if job.state is JobState.CANCELLED else "has"
    return f"job {job.id} {verb} {job.state}"


class _Decisions(Mapping[str, str]):
    """What is decided in each spec, computed for the specs that anybody asks about."""

    def __init__(self, desired: Mapping[str, Desired]) -> None:
        self._desired = desired
        self._found: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self._found:
            self._found[name] = decisions_of(self._desired[name])
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in self._desired

    def __iter__(self) -> Iterator[str]:
        return iter(self._desired)

    def __len__(self) -> int:
        return len(self._desired)


class _View:
    """Everything that the decisions of one plan look at."""

    def __init__(
        self,
        *,
        desired: Mapping[str, Desired],
        recorded: Lockfile,
        observed: Observed,
        unresolved: Mapping[str, Deferred | Blocked],
    ) -> None:
        self._desired = desired
        self._entries = recorded.finetunes
        self._observed = observed
        self._unresolved = unresolved
        self.around = surroundings_of(desired, recorded, unresolved)
        orphans = {
            name: entry
            for name, entry in sorted(self._entries.items())
            if name not in self.around.declared
        }
        self._restores = {
            name: restore
            for name, one in desired.items()
            if name not in self._entries
            and (restore := _restore(one, orphans, observed.lost.get(name))) is not None
        }
        self._moved = {restore.source for restore in self._restores.values()}
        self._strangers = sorted(unresolved.keys() - self._entries.keys())

    @property
    def names(self) -> list[str]:
        """Every fine-tune that is declared or recorded, sorted."""
        return sorted(self._desired.keys() | self._entries.keys() | self._unresolved.keys())

    def actions(self, name: str) -> Iterator[Action]:
        """Yield the step of one fine-tune; after a record also what follows, if a person decides it."""
        entry = self._entries.get(name, Entry())
        job = self._observed.jobs.get(entry.job.id) if entry.job is not None else None
        if job is not None and not job.state.is_open:
            # First of all: it needs neither spec nor data, and whatever comes next builds on it.
            yield Record(name=name, reason=describe_end(job), job=job)
            superseded = self._is_superseded(name, entry)
            after = after_job(entry, job, finished="", superseded=superseded)
            yield from self._decided(name, after)
            return
        action = self._action(name, entry, self._restores.get(name))
        if action is not None:
            yield action
        if isinstance(action, Restore) and action.is_certain:
            yield from self._decided(name, action.entry)

    def _decided(self, name: str, entry: Entry) -> Iterator[Action]:
        following = self._action(name, entry)
        if following is not None and following.needs_approval:
            yield following

    def suspended(self, actions: Sequence[Action]) -> Iterator[str]:
        """Yield the fine-tunes that are suspended, and have nothing to do."""
        busy = {action.name for action in actions}
        for name, desired in self._desired.items():
            if desired.spec.lifecycle.suspend and name not in busy:
                yield name

    def _action(self, name: str, entry: Entry, restore: Restore | None = None) -> Action | None:
        if name in self._unresolved:
            return self._unresolved[name]
        if name in self._desired:
            return Planner(
                desired=self._desired[name],
                entry=entry,
                observed=self._observed,
                around=self.around,
                restore=restore,
            ).action()
        if name in self._moved:
            return None
        return _without_spec(name, entry, self.around, self._strangers)

    def _is_superseded(self, name: str, entry: Entry) -> bool:
        if name in self._unresolved or entry.job is None:
            return False
        desired = self._desired.get(name)
        return desired is None or desired.fingerprint != entry.job.fingerprint


def _restore(desired: Desired, orphans: Mapping[str, Entry], lost: Lost | None) -> Restore | None:
    """Return what is known of a fine-tune without an entry: under its old name, or elsewhere."""
    name = desired.name
    nearest = max(orphans, key=lambda old: _nearness(desired, orphans[old]), default=None)
    if nearest is not None and _nearness(desired, orphans[nearest]):
        reason = f"finetunes/{nearest}.yaml was renamed to {name}.yaml"
        return Restore(name=name, reason=reason, entry=orphans[nearest], source=nearest)
    if lost is None:
        return None
    count = len(lost.entry.builds)
    what = f"{count} build{'' if count == 1 else 's'}" if count else "an open job"
    reason = f"the lockfile has no entry for it; {lost.source} knows {what}"
    return Restore(name=name, reason=reason, entry=lost.entry)


def _nearness(desired: Desired, entry: Entry) -> int:
    """Return how surely an entry without a spec is a fine-tune under its old name; 0 for not."""
    pin = desired.spec.lifecycle.pin
    target = desired.fingerprint
    if pin is not None and len(pin.removeprefix("ft1:")) >= _SURE_DIGITS:
        matches = pinned_builds(pin, entry)
        target = matches[0] if len(matches) == 1 else target
    if target == entry.production:
        return 3
    if entry.job is not None and target == entry.job.fingerprint:
        return 2
    return int(target in entry.builds)


_SURE_DIGITS = 8
"""So many hex digits of a pin do not fit another build by chance."""


def _without_spec(
    name: str, entry: Entry, around: Surroundings, strangers: Sequence[str]
) -> Action:
    file = f"finetunes/{name}.yaml"
    if entry.protect:
        remedy = (
            f"Bring {file} back; to let it go, set `lifecycle: {{protect: false}}` there first."
        )
        return _held(name, f"{file} is gone, but it is protected", remedy)
    if not around.declared:
        remedy = "Check --dir. To forget them all, delete finetunes/ftctl.lock."
        return _held(name, "no spec is left at all, which looks like a mistake", remedy)
    if strangers:
        reason = f"{file} is gone, and {strangers[0]}, which may be its new name, cannot be read"
        return _held(name, reason, f"Correct the problems of {strangers[0]} first.")
    return Retire(
        name=name,
        reason=f"{file} was removed; its models are kept",
        cancels=cancellation(name, entry, around),
        replaces=entry.production,
    )


def _held(name: str, reason: str, remedy: str) -> Blocked:
    return Blocked(name=name, reason=reason, remedy=remedy, obstacle=Obstacle.LIFECYCLE)
