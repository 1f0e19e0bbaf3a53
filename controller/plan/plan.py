"""Desired, recorded, observed → the actions of one pass. Pure: the heart of ftctl.

One pass moves each fine-tune by one step, so a run may die anywhere and the next one goes on.
Decided from state, never from history.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from backends.contract.jobs import Job
from controller.lockfile.model import Entry, Lockfile
from controller.plan.actions import Action, Blocked, Deferred, Record, Restore
from controller.plan.approval import decisions_of, plan_id
from controller.plan.budget import within_budget
from controller.plan.desired import Desired, Shutdown
from controller.plan.hosting import hosting_notes
from controller.plan.job_steps import JobStep, step_of
from controller.plan.observed import Observed, absent_in_production
from controller.plan.overview import Overview
from controller.plan.prompted_rivals import prompt_notes
from controller.plan.recording import after_job, describe_end
from controller.plan.rules import next_action
from controller.plan.state import State
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
    suspended: tuple[str, ...] = ()
    """Fine-tunes that are as declared, and suspended."""
    corrected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Inputs that a newer recipe would make differently, by fine-tune; recorded builds stay."""
    replace: frozenset[str] = frozenset()
    """Fine-tunes whose builds of an older recipe the user asked to replace."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Backends that were not queried, with the reason."""
    jobs: Mapping[str, Job] = field(default_factory=dict)
    """Recorded open jobs as the backends showed them, by ID."""
    shutdowns: Mapping[str, Shutdown] = field(default_factory=dict)
    """Ends of models in production, by fine-tune. They change no decision and no ID."""
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
    overview = Overview(
        desired=desired, recorded=recorded.finetunes, observed=observed, unresolved=unresolved
    )
    names = sorted(overview.declared | recorded.finetunes.keys())
    actions = [action for name in names for action in _actions(name, overview)]
    if budget_usd is not None:
        actions = list(within_budget(budget_usd, actions, recorded))
    busy = {action.name for action in actions}
    elsewhere = absent_in_production(recorded.finetunes, observed.absent)
    return Plan(
        actions=tuple(actions),
        specs=len(overview.declared),
        decisions=_Decisions(desired),
        settings=settings,
        suspended=tuple(
            name for name, one in desired.items() if one.spec.lifecycle.suspend and name not in busy
        ),
        corrected={name: one.corrected for name, one in desired.items() if one.corrected},
        skipped=observed.skipped,
        jobs=observed.jobs,
        shutdowns=observed.shutdowns,
        notes=(
            *notes(desired, recorded),
            *prompt_notes(desired, recorded),
            *hosting_notes(desired, recorded, observed.deployments),
            *observed.remarks.values(),
            *(f"{name}: {text}" for name, text in elsewhere.items()),
        ),
    )


def _actions(name: str, overview: Overview) -> Iterator[Action]:
    """Yield the step of one fine-tune, and the step after a record, if a person decides it."""
    entry = overview.recorded.get(name, Entry())
    state = State(name=name, entry=entry, overview=overview, restore=overview.restores.get(name))
    job, after = state.job, None
    if job is not None and step_of(job) is JobStep.RECORD:
        # First of all: it needs neither spec nor data, and whatever comes next builds on it.
        superseded = state.is_superseded
        yield Record(name=name, reason=describe_end(job), job=job, superseded=superseded)
        after = after_job(entry, job, finished="", superseded=superseded)
    elif (action := next_action(state)) is not None:
        yield action
        if isinstance(action, Restore) and action.is_certain:
            after = action.entry
    if after is not None:
        following = next_action(replace(state, entry=after, restore=None))
        if following is not None and following.needs_approval:
            yield following


class _Decisions(Mapping[str, str]):
    """Decisions of each spec, computed when they are first needed."""

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
