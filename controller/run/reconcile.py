"""The passes of a run: plan from what is there at that moment, carry out what may be, wait.

A pass holds the lockfile, reads specs and settings again, and acts only on the plan that it makes of
them. What it may carry out follows from the approval of the run's first plan; a run that nobody
approved does what needs no approval.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from backends.contract.errors import BackendError
from backends.contract.jobs import Job, JobState
from controller.apply.context import ApplyContext, Outcome
from controller.apply.dispatch import apply_action
from controller.errors import ExitCode, FtctlError
from controller.lockfile.store import Ledger, hold
from controller.plan.actions import (
    Action,
    Blocked,
    Deferred,
    Evaluate,
    Obstacle,
    Restore,
    Resume,
    Retire,
    Reuse,
    Train,
    Wait,
)
from controller.plan.approval import Approval, is_allowed, is_decided_otherwise, owns
from controller.plan.planner import as_recorded
from controller.project.project import Project
from controller.run.interrupts import defer_interrupt
from controller.run.prepare import PreparedRun, prepare_pass
from controller.run.result import ProgressReporter, RunResult

FRESH_S = 10.0
"""How long a pass acts on one reading of the specs: an evaluation may take an hour."""
OUTAGE_S = 1800.0
"""How long a run that waits for hours puts up with a backend that gives no answer."""
CHANGED = "the specs changed while this run waited"
_POLL_S = 10.0
_GOING = frozenset({JobState.QUEUED, JobState.RUNNING})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How far a run goes."""

    approval: Approval | None
    """What a person approved; None: only what needs no approval is done."""
    wait: bool = True
    """Whether to continue until no job of this run is open."""
    lock_timeout_s: float = 600.0
    """Time to wait for another run that is recording."""


def run_until_settled(
    project: Project, first: PreparedRun, reporter: ProgressReporter, options: RunOptions
) -> RunResult:
    """Carry out passes until there is nothing left to do but wait, and wait if asked to.

    Args:
        project: The repository.
        first: The run's first plan, which was approved.
        reporter: Where people read what happens.
        options: How far to go.

    Raises:
        LockHeld: Another run recorded all the time.
    """
    run = _Run(project, first, reporter, options)
    while True:
        if run.one_pass():
            continue
        reporter.progress(run.result.waiting)
        if not (options.wait and run.result.waiting) or run.prepared.settings_error:
            return run.result
        run.wait_for_change()


@dataclass(slots=True)
class _Run:
    project: Project
    prepared: PreparedRun
    """The plan of the newest pass."""
    reporter: ProgressReporter
    options: RunOptions
    result: RunResult = field(default_factory=RunResult)
    silent_since_s: float | None = None
    """Since when a backend with a job of this run gives no answer."""
    passes: int = 0
    places: dict[str, list[str]] = field(default_factory=dict)
    """IDs of the open jobs that this run follows, by backend."""

    def one_pass(self) -> bool:
        """Carry out one pass; return whether another one now may find something to do."""
        options = self.options
        with hold(
            self.project.root,
            self.project.state,
            timeout_s=options.lock_timeout_s,
            purpose="apply" if options.approval is not None else "reconcile",
        ) as ledger:
            self.prepared = self._prepare(ledger)
            context = ApplyContext(
                project=self.project,
                ledger=ledger,
                resolved=self.prepared.resolved,
                open_backend=self.prepared.open_backend,
                now=lambda: datetime.now(UTC),
            )
            moved = self._carry_out(context)
            self._follow(ledger)
        self.passes += 1
        return moved

    def _prepare(self, ledger: Ledger) -> PreparedRun:
        prepared = prepare_pass(self.project, ledger.lockfile, self.prepared)
        error = prepared.settings_error
        if error is not None and self.passes:
            remedy = "Correct it, then `ftctl apply` again: what was done until then is recorded."
            raise FtctlError(str(error), remedy) from error
        return prepared

    def wait_for_change(self) -> None:
        """Watch open jobs, one call for each backend, until one of them is not simply running."""
        names = {job.id: name for name, job in self.result.waiting.items()}
        pause_s = max(self._poll_s(place) for place in self.places)
        while True:
            time.sleep(pause_s)
            seen: dict[str, Job] = {}
            silent: set[str] = set()
            for place, ids in self.places.items():
                try:
                    seen |= self.prepared.open_backend(place).observe(ids)
                except BackendError as error:
                    silent |= set(ids)
                    self._note_silence(place, error.message)
            if not silent:
                self.silent_since_s = None
            elif not self._is_patient():
                return  # the next pass reports what is wrong
            self.reporter.progress({names[job_id]: job for job_id, job in seen.items()})
            gone = names.keys() - seen.keys() - silent
            if gone or any(job.state not in _GOING for job in seen.values()):
                return

    def _carry_out(self, context: ApplyContext) -> bool:
        plan, moved = self.prepared.plan, False
        left: list[Action] = []
        until_s = time.monotonic() + FRESH_S
        changed: set[str] = set()
        for action in _in_order(plan.actions):
            if action.name in changed or self._is_settled(action):
                continue
            decision = plan.decisions.get(action.name)
            if not is_allowed(action, decision, plan.settings, self.options.approval):
                left += [action] if action.needs_approval else []
                self._report_change(action, context.ledger)
                continue
            if isinstance(action, Wait):
                continue
            if heir := _heir(action, plan.actions):
                self._report_held(action, heir)
                continue
            if moved and time.monotonic() > until_s:
                return True
            with defer_interrupt():
                self.reporter.starting(action)
                self._report(self._own(apply_action(action, context)))
            changed.add(action.name)
            moved = moved or not isinstance(action, Blocked | Deferred | Resume)
        self.result.left = tuple(left)
        return moved

    def _report(self, outcome: Outcome) -> None:
        self.reporter.done(outcome)
        self.result.outcomes.append(outcome)

    def _own(self, outcome: Outcome) -> Outcome:
        """Return an outcome with the code for what this run did.

        A job that was gone before an unattended run began is `ftctl status`'s to show: otherwise
        one lost job makes every later run fail.
        """
        action = outcome.action
        lost = isinstance(action, Blocked) and action.obstacle is Obstacle.DRIFT
        if lost and self.options.approval is None and not self.passes:
            return replace(outcome, exit_code=ExitCode.DONE)
        return outcome

    def _is_settled(self, action: Action) -> bool:
        """Return whether this run is done with a fine-tune, or has no part in what blocks it."""
        if action.name in self.result.failed:
            return True
        if not isinstance(action, Blocked | Deferred):
            return False
        if self.options.approval is None and _is_for_apply(action):
            return True
        if isinstance(action, Blocked) and self._is_outage(action):
            return True
        return any(
            outcome.action.name == action.name and type(outcome.action) is type(action)
            for outcome in self.result.outcomes
        )

    def _is_outage(self, action: Blocked) -> bool:
        """Return whether a job that this run waits for cannot be seen, for a short time so far."""
        if action.obstacle is not Obstacle.UNREACHABLE or action.job is None:
            return False
        if not (self.options.wait and self.passes):
            return False
        self._note_silence(action.name, action.reason)
        return self._is_patient()

    def _note_silence(self, subject: str, message: str) -> None:
        if self.silent_since_s is None:
            self.silent_since_s = time.monotonic()
            minutes = round(OUTAGE_S / 60)
            self.reporter.notice(f"{subject}: {message}; asking again for {minutes} minutes")

    def _is_patient(self) -> bool:
        since_s = self.silent_since_s
        return since_s is None or time.monotonic() - since_s < OUTAGE_S

    def _report_change(self, action: Action, ledger: Ledger) -> None:
        """Report once that a fine-tune of this run is not what was approved any more."""
        approval = self.options.approval
        seen = approval.actions.get(action.name, ()) if approval is not None else ()
        if approval is None or all(isinstance(one, Blocked | Deferred) for one in seen):
            return
        entry = ledger.entries.get(action.name)
        if entry is not None and entry.job is not None and owns(entry.job, approval, action.name):
            job = self.prepared.plan.jobs.get(entry.job.id)
            if job is None or job.state in _GOING:
                return  # it is waited for, and recorded
        plan = self.prepared.plan
        decision = plan.decisions.get(action.name)
        edited = is_decided_otherwise(action.name, decision, plan.settings, approval)
        what = CHANGED if edited else "what is planned now is not what this run was approved for"
        message = f"{what}: `ftctl apply` again\n    Now planned: {_planned(action)}"
        self._report(Outcome(action=action, message=message, exit_code=ExitCode.PLAN_STALE))

    def _report_held(self, action: Action, heir: str) -> None:
        """Report a fine-tune that stays because this run may not do what comes before."""
        approval = self.options.approval
        if approval is not None and heir not in approval.actions:
            message = f"kept: {heir} takes a build from it first\n    Apply both: `ftctl apply`"
            outcome = Outcome(action=action, message=message, exit_code=ExitCode.PLAN_STALE)
            self._report(outcome)

    def _follow(self, ledger: Ledger) -> None:
        """Note the open jobs that this run follows, as its last plan saw them."""
        self.result.waiting, self.places = {}, {}
        for name, entry in sorted(ledger.entries.items()):
            job = entry.job
            if job is None or name in self.result.failed:
                continue
            if owns(job, self.options.approval, name):
                seen = self.prepared.plan.jobs.get(job.id)
                self.result.waiting[name] = seen or as_recorded(job)
                self.places.setdefault(job.backend, []).append(job.id)

    def _poll_s(self, place: str) -> float:
        try:
            return self.prepared.open_backend(place).capabilities().poll_s
        except BackendError:
            return _POLL_S


def _in_order(actions: Sequence[Action]) -> list[Action]:
    """Return the actions in the order of carrying out: what takes long comes last.

    A fine-tune is forgotten after others have taken what they need of it. The actions of one
    fine-tune stay in their order.
    """
    return sorted(actions, key=lambda one: (_takes_long(one), isinstance(one, Retire)))


def _takes_long(action: Action) -> bool:
    if isinstance(action, Restore):
        return not action.is_certain
    return isinstance(action, Evaluate)


def _heir(action: Action, actions: Sequence[Action]) -> str | None:
    """Return the fine-tune that takes a build from an entry before that is forgotten."""
    if not isinstance(action, Retire):
        return None
    takers = (one for one in actions if isinstance(one, Reuse) and one.source == action.name)
    return next((one.name for one in takers), None)


def _planned(action: Action) -> str:
    """Return what an action would do, in a few words, with its price."""
    kind = type(action).__name__.lower()
    usd = action.estimate.usd if isinstance(action, Train) else None
    price = f", ${usd[0]:,.2f} - ${usd[1]:,.2f}" if usd is not None else ""
    return f"{kind} ({action.reason}{price})"


def _is_for_apply(action: Blocked | Deferred) -> bool:
    """Return whether an obstacle stands before something that only `ftctl apply` does."""
    if isinstance(action, Deferred):
        return True
    if action.obstacle is Obstacle.UNREACHABLE:
        return action.job is None
    return action.obstacle in {Obstacle.BUDGET, Obstacle.POLICY, Obstacle.LIFECYCLE}
