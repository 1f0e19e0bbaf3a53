"""The loop of `ftctl reconcile --watch`. Read this file first.

Each turn brings the clone up to date, makes a plan, carries out what is approved, and brings the
records back. The log reports whatever goes wrong in one turn, and the next turn starts from the
beginning: git, the lockfile and the backends know everything that a later turn needs.
"""

import gc
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Never, Protocol

from controller.errors import ExitCode, FtctlError
from controller.plan.actions import Action, Wait
from controller.plan.approval import Approval
from controller.plan.plan import Plan
from controller.run.backends import OpenFor
from controller.run.reconcile import prepare_run, run_until_settled
from controller.run.result import RunResult
from controller.run.stages import PreparedRun
from controller.run.state import RunOptions
from controller.state_folder import refused_by_system
from controller.watch.approval import Approver
from controller.watch.branch import NothingToFollow, Place
from controller.watch.health import HealthBoard
from controller.watch.log import LOGGER, EventLog
from controller.watch.metrics import Metrics
from controller.watch.outlook import Outlook, outlook_of
from controller.watch.pauses import Pauses
from controller.watch.reporter import WatchReporter

_TO_APPROVE = "waits for an approval\nApprove what `ftctl plan` shows: ftctl apply"
_PUSHED = "everything is recorded"
_WAITS = "some records could not be pushed; they wait in the clone, and the next start pushes them"


class Reporter(Protocol):
    """Receiver of the state of commits."""

    def begin(self, change: str, description: str) -> None:
        """Report that a commit is acted on, if nothing is reported of it that still holds."""

    def report(self, change: str, state: str, description: str) -> None:
        """Report the state of a commit: `pending`, `success`, `failure` or `error`."""


@dataclass(slots=True, kw_only=True)
class Service:
    """One service, for as long as it runs."""

    place: Place
    approve: Approver
    open_for: OpenFor
    interval_s: float
    lock_timeout_s: float
    board: HealthBoard
    log: EventLog
    metrics: Metrics
    reporter: WatchReporter
    statuses: Reporter | None = None
    pauses: Pauses = field(default_factory=Pauses)
    stopped: dict[str, str] = field(default_factory=dict)
    """Fine-tunes that wait for a person, as the log reported them last."""
    held: dict[str, str] = field(default_factory=dict)
    """Fine-tunes that wait for an approval, as the log reported them last."""
    acting_on: str | None = None
    """Commit that the running pass acts on."""
    ended_by: int | None = None
    """Signal that ended the service."""

    def run(self) -> ExitCode:
        """Turn until a signal; then finish the record in hand, push, and return the exit code.

        Raises:
            NothingToFollow: There is no such repository or branch, or no permission, at the first start.
        """
        with self._signals():
            try:
                self._loop()
            except KeyboardInterrupt:
                return self._end()

    def _loop(self) -> Never:
        while True:
            began_s = time.monotonic()
            self._turn()
            if self.ended_by is not None:
                # What a signal raises is lost where a finalizer runs.
                raise KeyboardInterrupt
            time.sleep(max(0.0, self.interval_s - (time.monotonic() - began_s)))

    def _turn(self) -> None:
        began_s = time.time()
        self.board.update(lambda health: replace(health, pass_since_s=began_s))
        try:
            if self.place.refresh():
                self._act()
                self._works()
        except NothingToFollow:
            raise
        except FtctlError as error:
            self._failed(error)
        except OSError as error:
            self._failed(refused_by_system(error, self.place.project.state))
        except Exception:  # noqa: BLE001 - a defect must not end the service; the log reports it
            message = "a defect of ftctl; the next pass starts from the beginning"
            self._failed(FtctlError(message))
            LOGGER.exception(message)
        finally:
            self.acting_on = None
            self.board.update(lambda health: replace(health, pass_since_s=None))
            gc.collect()

    def _act(self) -> None:
        """Make a plan, carry out what is approved, push what it came to, and report."""
        began_s, change = time.monotonic(), self.place.change
        self.acting_on = change
        prepared = prepare_run(self.place.project, self.open_for)
        outlook = self._carry_out(prepared, change)
        is_pushed = self.place.publish()
        seconds = time.monotonic() - began_s
        self.metrics.observe_pass(seconds)
        self._tell(outlook, change, seconds)
        if is_pushed:
            self._report(change, outlook.state, outlook.description)
        else:
            self._report(change, "error", "the lockfile could not be pushed: see the log")

    def _carry_out(self, prepared: PreparedRun, change: str | None) -> Outlook:
        plan, loaded = prepared.plan, prepared.loaded
        paused = self.pauses.paused(plan, time.monotonic())
        decision = self.approve(prepared, change)
        approval = decision.approval
        if approval is not None:
            allowed = {name: seen for name, seen in approval.actions.items() if name not in paused}
            approval = replace(approval, actions=allowed)
        acting, left = _divided(plan, approval)
        waiting = sorted(left - paused.keys())
        self._tell_held({name: decision.held.get(name, _TO_APPROVE) for name in waiting})
        jobs = {action.name: action.job for action in plan.actions if isinstance(action, Wait)}
        result = RunResult(waiting=jobs)
        if acting:
            if self.statuses is not None and change is not None:
                self.statuses.begin(change, f"actions to carry out: {len(acting)}")
            options = RunOptions(approval=approval, wait=False, lock_timeout_s=self.lock_timeout_s)
            result = run_until_settled(prepared, self.reporter, options)
            self.pauses.note(plan, result.outcomes, time.monotonic())
        else:
            self.reporter.progress(jobs)
        finetunes = len(loaded.specs) + len(loaded.problems)
        return outlook_of(plan, result, paused=paused, left=left, finetunes=finetunes)

    def _tell(self, outlook: Outlook, change: str | None, seconds: float) -> None:
        """Write into the log what is new: who waits for a person, and who does not any more."""
        for name, why in outlook.stopped.items():
            if self.stopped.get(name) != why:
                self.log.alert("stopped", f"{name}: {why}", name=name)
        for name in self.stopped.keys() - outlook.stopped.keys():
            self.log.tell("continues", f"{name} does not wait for a person any more", name=name)
        self.stopped = dict(outlook.stopped)
        before, now_s = self.board.now, time.time()
        self.board.update(
            lambda health: replace(
                health,
                commit=change,
                passed_s=now_s,
                open_jobs=len(outlook.waiting),
                stopped=len(outlook.stopped),
                finetunes=outlook.finetunes,
            )
        )
        if before.passed_s is None or before.commit != change:
            of = f" of {change[:12]}" if change is not None else ""
            message = f"first pass{of}: {outlook.description}"
            self.log.tell("pass", message, commit=change, seconds=round(seconds, 3))

    def _tell_held(self, held: dict[str, str]) -> None:
        for name, why in held.items():
            if self.held.get(name) != why:
                self.log.alert("held", f"{name}: {why}", name=name)
        self.held = held

    def _report(self, change: str | None, state: str, description: str) -> None:
        if self.statuses is not None and change is not None:
            self.statuses.report(change, state, description)

    def _works(self) -> None:
        self.metrics.count_event("pass", failed=False)
        if ended := self.board.end_outage("pass"):
            seconds = round(time.time() - ended.since_s)
            self.log.tell("works", f"passes work again, after {seconds} s", what="pass")

    def _failed(self, error: FtctlError) -> None:
        self.metrics.count_event("pass", failed=True)
        if self.board.begin_outage("pass", error.one_line, time.time()):
            self.log.fail("fails", f"pass: {error.one_line}", what="pass")
        self._report(self.acting_on, "error", "a pass failed: see the log of the service")

    def _end(self) -> ExitCode:
        """Push what is recorded, and return the exit code; a second signal ends that at once."""
        self.board.update(lambda health: replace(health, is_ending=True))
        self.log.tell("ending", "a signal; pushing what is recorded. Jobs keep running.")
        is_pushed = False
        try:
            is_pushed = self.place.publish()
        except (FtctlError, OSError) as error:
            self.log.fail("fails", f"push: {error}", what="push")
        except KeyboardInterrupt:
            self.log.alert("ending", "a second signal; ending at once")
        self.log.tell("ended", _PUSHED if is_pushed else _WAITS)
        if self.ended_by != signal.SIGTERM:
            return ExitCode.INTERRUPTED
        return ExitCode.DONE if is_pushed else ExitCode.ERROR

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let SIGTERM do what Ctrl-C does: where a record is in hand, both wait for its end."""

        def interrupt(number: int, frame: FrameType | None) -> None:
            self.ended_by = self.ended_by or number
            signal.default_int_handler(number, frame)

        def terminate(number: int, frame: FrameType | None) -> None:
            del frame
            self.ended_by = self.ended_by or number
            signal.raise_signal(signal.SIGINT)

        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, interrupt),
            signal.SIGTERM: signal.signal(signal.SIGTERM, terminate),
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _divided(plan: Plan, approval: Approval | None) -> tuple[list[Action], set[str]]:
    """Return the actions that a pass may carry out, and the fine-tunes that need an approval."""
    acting, left = [], set()
    for action in plan.actions:
        if approval is None:
            is_allowed = not action.needs_approval
        else:
            is_allowed = action in approval.actions.get(action.name, ())
        if action.acts and is_allowed:
            acting.append(action)
        elif action.acts and action.needs_approval:
            left.add(action.name)
    return acting, left
