"""Context and result of handlers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from backends.contract.jobs import TrainRequest
from controller.errors import ExitCode
from controller.lockfile.model import Entry
from controller.lockfile.store import LockedLockfile
from controller.plan.actions import Action
from controller.plan.actions.groups import CancellingAction
from controller.plan.desired import Desired
from controller.project.project import Project, current_commit
from controller.resolve.answers import OpenBackend
from controller.resolve.resolve import Resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Outcome of one action."""

    action: Action
    message: str
    """For people: what was done, or why it was not."""
    exit_code: ExitCode = ExitCode.DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Outcome of a handler, with the entries to record."""

    message: str
    entries: Mapping[str, Entry | None] = field(default_factory=dict)
    """New entries by fine-tune; None forgets one. Recorded in this order."""
    exit_code: ExitCode = ExitCode.DONE
    then: Callable[[], str] | None = None
    """Work that may fail without harm, done once the entries are recorded; more of the message."""


@dataclass(frozen=True, kw_only=True)
class ApplyContext:
    """Context of all handlers in one pass."""

    project: Project
    lockfile: LockedLockfile
    resolved: Resolved
    open_backend: OpenBackend

    def entry(self, name: str) -> Entry:
        """Return the record of a fine-tune."""
        return self.lockfile.entries.get(name, Entry())

    def desired(self, name: str) -> Desired:
        """Return the inputs that a spec asks for."""
        return self.resolved.desired[name]

    def request(self, name: str) -> TrainRequest:
        """Return the request to train a fine-tune; its attempt is not decided yet."""
        return self.resolved.requests[name]

    @cached_property
    def spec_commit(self) -> str | None:
        """The commit whose specs this pass carries out, read from git once."""
        return current_commit(self.project.root)

    def timestamp(self, seconds: float | None = None) -> str:
        """Return a time as the lockfile writes it: seconds since the epoch, or now."""
        when = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
        return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def with_changes(entry: Entry, **changes: object) -> Entry:
    """Return an entry with some fields replaced."""
    return entry.model_copy(update=changes)


def cancel_job(action: CancellingAction, context: ApplyContext) -> Entry:
    """Cancel the job that an action cancels, and return the entry without its open job.

    Coming back to these inputs later is another attempt.
    """
    entry, cancels = context.entry(action.name), action.cancels
    if entry.job is None:
        return entry
    if cancels is None or cancels.job != entry.job.id:
        # Another fine-tune has the same inputs: the job keeps running for that one.
        return with_changes(entry, job=None)
    context.open_backend(cancels.backend).cancel(cancels.job)
    attempts = {**entry.attempts, entry.job.fingerprint: entry.job.attempt + 1}
    return with_changes(entry, job=None, attempts=attempts)
