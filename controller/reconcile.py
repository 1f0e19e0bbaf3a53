"""The walk: load → read lock → resolve → observe → plan → apply.

No step calls back into an earlier one. `ftctl plan` is the walk without its last step.
"""

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from types import FrameType
from typing import Protocol, TypeAlias

from backends.base import Backend, BackendError, CredentialsMissing, Job, JobState
from backends.registry import open_backend
from controller.apply import Hands, Outcome, apply_action
from controller.check import OpenBackend
from controller.errors import ExitCode, FtctlError
from controller.lock.model import Lockfile
from controller.lock.store import hold, read_lockfile
from controller.plan.actions import Action, Blocked, Deferred, Resume, Train, Wait
from controller.plan.plan import Observed, Plan, make_plan
from controller.project import Project
from controller.resolve import Resolved, resolve
from controller.settings import find_endpoint, load_settings
from controller.spec.load import read_specs


class Screen(Protocol):
    """Where a run tells people what happens."""

    def starting(self, action: Action) -> None:
        """An action begins that may take a while."""
        ...

    def done(self, outcome: Outcome) -> None:
        """An action was carried out, or could not be."""
        ...

    def progress(self, jobs: Mapping[str, Job]) -> None:
        """Open jobs moved on; by the name of their fine-tune."""
        ...


@dataclass(slots=True, kw_only=True)
class Converged:
    """What a run came to."""

    outcomes: list[Outcome] = field(default_factory=list)
    waiting: dict[str, Job] = field(default_factory=dict)
    """Jobs still open, by fine-tune."""

    @property
    def stuck(self) -> frozenset[str]:
        """Fine-tunes for which something went wrong; left alone for the rest of the run."""
        return frozenset(outcome.action.name for outcome in self.outcomes if outcome.exit_code)

    @property
    def exit_code(self) -> ExitCode:
        """The gravest of the outcomes' codes."""
        codes = [outcome.exit_code for outcome in self.outcomes]
        for code in _GRAVEST_FIRST:
            if code in codes:
                return code
        return ExitCode.DONE


_GRAVEST_FIRST = (
    ExitCode.SUBMISSION_UNKNOWN,
    ExitCode.ERROR,
    ExitCode.REFUSED,
    ExitCode.GATE_FAILED,
)


def backends_of(project: Project) -> OpenBackend:
    """Return a function that opens each backend, at each endpoint, once.

    It takes a spec's `place` and raises KeyError for an unknown backend, BackendError for an
    endpoint that `ftctl.yaml` does not name.
    """

    @cache
    def opened(place: str) -> Backend:
        name, _, endpoint = place.partition("@")
        return open_backend(name, project.state, find_endpoint(project.root, endpoint))

    return opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, and what carrying it out needs."""

    plan: Plan
    resolved: Resolved
    opened: OpenBackend
    budget_usd: float | None = None


def plan_once(project: Project, *, for_people: bool = False) -> Planned:
    """Make the plan of one pass. Writes nothing but the cache of built datasets.

    Args:
        project: The repository.
        for_people: Whether it is only looked at. Then a place whose key is not set here need not
            be asked; the plan says so.
    """
    opened = backends_of(project)
    recorded = read_lockfile(project.root, project.state)
    specs, problems = read_specs(project.root)
    settings = load_settings(project.root)
    resolved = resolve(
        specs,
        recorded,
        project,
        opened,
        policies=settings.policies,
        problems=problems,
    )
    budget_usd = settings.budget.max_usd
    observed = observe(resolved, recorded, opened, for_people=for_people)
    plan = make_plan(resolved.desired, recorded, observed, budget_usd, resolved.deferred)
    return Planned(plan=plan, resolved=resolved, opened=opened, budget_usd=budget_usd)


def observe(
    resolved: Resolved, recorded: Lockfile, opened: OpenBackend, *, for_people: bool = False
) -> Observed:
    """Ask the backends about recorded open jobs and about fingerprints without a build.

    One call for each backend and kind of question, however many jobs are open.

    Raises:
        FtctlError: A backend gave no answer.
    """
    jobs: dict[str, list[str]] = {}
    for entry in recorded.finetunes.values():
        if entry.job is not None:
            jobs.setdefault(entry.job.backend, []).append(entry.job.id)
    missing: dict[str, list[str]] = {}
    for name, desired in resolved.desired.items():
        entry_builds = recorded.finetunes[name].builds if name in recorded.finetunes else {}
        if desired.fingerprint not in entry_builds:
            missing.setdefault(desired.spec.place, []).append(desired.fingerprint)
    seen: dict[str, Job] = {}
    found: dict[str, tuple[Job, ...]] = {}
    unasked: dict[str, str] = {}
    for place in sorted(jobs.keys() | missing.keys()):
        backend = _recorded_backend(place, opened)
        try:
            if place in jobs:
                seen |= backend.observe(jobs[place])
            if place in missing:
                found |= backend.find(missing[place])
        except BackendError as error:
            if not (for_people and isinstance(error, CredentialsMissing)):
                # Without these answers a plan would be a guess, and might pay twice.
                raise FtctlError(error.message, error.remedy) from error
            unasked[place] = error.message
    return Observed(jobs=seen, found=found, unasked=unasked)


def _recorded_backend(name: str, opened: OpenBackend) -> Backend:
    """Open a backend that the lockfile names; a spec that names one was checked before."""
    try:
        return opened(name)
    except KeyError:
        message = f"a job is open at the backend {name!r}, which is not installed here"
        raise FtctlError(message, "Install it, and run the command again.") from None


Submission: TypeAlias = tuple[str, str, int]
"""What a person approves: fine-tune, fingerprint, attempt."""


def submission(action: Train) -> Submission:
    """Return what approving an action approves."""
    return action.name, action.fingerprint, action.attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """How far a run goes."""

    approved: frozenset[Submission] | None
    """The only jobs that may be submitted; None allows all, an empty set none."""
    wait: bool = True
    """Whether to go on until no job is open."""
    lock_timeout_s: float = 600.0
    """How long to wait for another run that is recording."""
    only: frozenset[str] = frozenset()
    """Fine-tunes to act on; all when empty."""


def converge(project: Project, planned: Planned, screen: Screen, walk: Walk) -> Converged:
    """Carry out passes until there is nothing left to do but wait, and wait if asked to.

    What the specs ask for was resolved before, and a person approved it; the lockfile is read
    again in each pass, after the lock is taken, because another run may have been at work.

    Raises:
        LockHeld: Another run recorded all the time.
    """
    converged = Converged()
    while True:
        plan = _one_pass(project, planned, screen, walk, converged)
        if plan is not None:
            converged.waiting = _open_jobs(plan, walk, converged)
            screen.progress(converged.waiting)
            if not (walk.wait and converged.waiting):
                return converged
            _wait_for_change(converged.waiting, planned, screen)


def _one_pass(
    project: Project, planned: Planned, screen: Screen, walk: Walk, converged: Converged
) -> Plan | None:
    """Carry out one pass; return its plan when another one now would find nothing to do."""
    moved = False
    with hold(
        project.root, project.state, timeout_s=walk.lock_timeout_s, purpose="apply"
    ) as ledger:
        observed = observe(planned.resolved, ledger.lockfile, planned.opened)
        resolved = planned.resolved
        plan = make_plan(
            resolved.desired, ledger.lockfile, observed, planned.budget_usd, resolved.deferred
        )
        hands = Hands(
            project=project,
            ledger=ledger,
            resolved=planned.resolved,
            open_backend=planned.opened,
            now=lambda: datetime.now(UTC),
        )
        for action in plan.actions:
            if action.name not in converged.stuck and _is_due(action, walk):
                with _finish_first():
                    screen.starting(action)
                    outcome = apply_action(action, hands)
                    screen.done(outcome)
                converged.outcomes.append(outcome)
                moved = moved or not isinstance(action, Blocked | Deferred | Resume)
    return None if moved else plan


def _is_due(action: Action, walk: Walk) -> bool:
    if walk.only and action.name not in walk.only:
        return False
    if isinstance(action, Train) and walk.approved is not None:
        return submission(action) in walk.approved
    return not isinstance(action, Wait)


def _open_jobs(plan: Plan, walk: Walk, converged: Converged) -> dict[str, Job]:
    return {
        action.name: action.job
        for action in plan.actions
        if isinstance(action, Wait | Resume)
        and action.name not in converged.stuck
        and (not walk.only or action.name in walk.only)
    }


def _wait_for_change(jobs: Mapping[str, Job], planned: Planned, screen: Screen) -> None:
    """Watch open jobs, one call for each backend, until one of them is not simply going on."""
    names = {job.id: name for name, job in jobs.items()}
    places = _by_backend(jobs, planned.resolved)
    pause_s = max(planned.opened(place).capabilities().poll_s for place in places)
    while True:
        time.sleep(pause_s)
        seen: dict[str, Job] = {}
        try:
            for backend, ids in places.items():
                seen |= planned.opened(backend).observe(ids)
        except BackendError:
            return  # the next pass asks again, and says what is wrong
        screen.progress({names[job_id]: job for job_id, job in seen.items()})
        running = {JobState.QUEUED, JobState.RUNNING}
        if len(seen) < len(names) or any(job.state not in running for job in seen.values()):
            return


def _by_backend(jobs: Mapping[str, Job], resolved: Resolved) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = {}
    for name, job in jobs.items():
        ids.setdefault(resolved.desired[name].spec.place, []).append(job.id)
    return ids


@contextmanager
def _finish_first() -> Iterator[None]:
    """Let the first Ctrl-C wait until the record in hand is finished; the second acts at once."""
    interrupted = False

    def later(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            signal.default_int_handler(number, frame)
        interrupted = True

    previous = signal.signal(signal.SIGINT, later)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if interrupted:
        raise KeyboardInterrupt
