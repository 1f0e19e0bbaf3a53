"""State of one run, from its first pass to its last."""

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from controller.lockfile.store import LockedLockfile, lock_lockfile
from controller.plan.approval import Approval
from controller.run.result import ProgressReporter, RunResult
from controller.run.stages import PreparedRun

OUTAGE_S = 1800.0
"""Longest outage of a backend that a waiting run tolerates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Limits of a run."""

    approval: Approval | None
    """Approval of a person; None to do only what needs no approval."""
    wait: bool = True
    """True to continue until no job of this run is open."""
    trains_only: bool = False
    """True to train, record and measure, and to leave production and everything else as it is."""
    lock_timeout_s: float = 600.0
    """Time to wait for another run that is recording."""


@dataclass(slots=True, kw_only=True)
class Run:
    """One run: how far it goes, and how far it came."""

    options: RunOptions
    reporter: ProgressReporter
    prepared: PreparedRun
    """Plan of the newest pass, or the plan that was approved."""
    result: RunResult = field(default_factory=RunResult)
    followed: dict[str, list[str]] = field(default_factory=dict)
    """IDs of the open jobs that this run follows, by backend."""
    passes: int = 0
    """Number of finished passes."""
    silent_since_s: float | None = None
    """Start of an outage; None while every backend with a job of this run answers."""
    failed_trackers: set[str] = field(default_factory=set)
    """Trackers that this run does not write to again."""
    stored_answers: set[tuple[str, str]] = field(default_factory=set)
    """Fine-tunes and fingerprints whose answers this run has written to the store."""
    told: set[str] = field(default_factory=set)
    """Notices that this run does not repeat."""

    def lock(self, purpose: str) -> AbstractContextManager[LockedLockfile]:
        """Lock the lockfile; another run that waits for it shows the purpose."""
        project, timeout_s = self.prepared.loaded.inputs.project, self.options.lock_timeout_s
        return lock_lockfile(project.root, project.records, timeout_s=timeout_s, purpose=purpose)

    def tell_once(self, message: str) -> None:
        """Report something that concerns the run as a whole, once."""
        if message not in self.told:
            self.told.add(message)
            self.reporter.notice(message)

    def note_outage(self, subject: str, message: str, remedy: str = "") -> None:
        """Note an outage; report its start once, with what a person can do."""
        if self.silent_since_s is None:
            self.silent_since_s = time.monotonic()
            again = f"asking again for {round(OUTAGE_S / 60)} minutes"
            hint = f". {remedy}" if remedy else ""
            self.reporter.notice(f"{subject}: {message}; {again}{hint}")

    def end_outage(self) -> None:
        """Note that every backend answers; report it if there was an outage."""
        if self.silent_since_s is not None:
            seconds = time.monotonic() - self.silent_since_s
            self.reporter.notice(f"an answer again after {seconds:.0f} seconds")
        self.silent_since_s = None

    @property
    def is_patient(self) -> bool:
        """True while no outage is too long."""
        since_s = self.silent_since_s
        return since_s is None or time.monotonic() - since_s < OUTAGE_S
