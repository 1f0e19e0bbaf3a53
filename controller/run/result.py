"""Result of a run, and the interface to report it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from backends.contract.jobs import Job
from controller.apply.context import Outcome
from controller.errors import ExitCode
from controller.plan.actions import Action

_GRAVEST_FIRST = (
    ExitCode.SUBMISSION_UNKNOWN,
    ExitCode.ERROR,
    ExitCode.REFUSED,
    ExitCode.PLAN_STALE,
    ExitCode.GATE_FAILED,
)


class ProgressReporter(Protocol):
    """Receiver of a run's reports."""

    def starting(self, action: Action) -> None:
        """Report an action that begins and may take a while."""

    def done(self, outcome: Outcome) -> None:
        """Report an action that was carried out, or could not be."""

    def progress(self, jobs: Mapping[str, Job]) -> None:
        """Report open jobs, by the name of their fine-tune."""

    def download(self, name: str, done: int, total: int) -> None:
        """Report a base model's download: the fine-tune, bytes so far, and bytes of all."""

    def transfer(self, name: str, what: str, done: int, total: int) -> None:
        """Report a transfer: the fine-tune, what is moved, bytes so far, and bytes of all."""

    def told(self, message: str) -> None:
        """Report something that is done and concerns no action."""

    def notice(self, message: str) -> None:
        """Report something that concerns the run as a whole."""


@dataclass(slots=True, kw_only=True)
class RunResult:
    """Result of a run."""

    outcomes: list[Outcome] = field(default_factory=list)
    waiting: dict[str, Job] = field(default_factory=dict)
    """Jobs still open, by fine-tune."""
    left: tuple[Action, ...] = ()
    """Actions of the last plan that nobody approved in this run."""
    held: tuple[Outcome, ...] = ()
    """Fine-tunes that wait for an approval that this run was not given."""
    store_failed: ExitCode = ExitCode.DONE
    """`ERROR` if a build could not be written to the store."""

    @property
    def failed(self) -> frozenset[str]:
        """Fine-tunes for which something went wrong."""
        return frozenset(outcome.action.name for outcome in self.outcomes if outcome.exit_code)

    @property
    def exit_code(self) -> ExitCode:
        """The gravest of the outcomes' codes."""
        codes = [outcome.exit_code for outcome in (*self.outcomes, *self.held)]
        codes.append(self.store_failed)
        for code in _GRAVEST_FIRST:
            if code in codes:
                return code
        return ExitCode.DONE
