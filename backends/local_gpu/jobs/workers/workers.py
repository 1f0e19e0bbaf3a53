"""The contract of what starts and follows the worker of a run: on this machine, or on another one.

The run folder is the truth. What a scheduler says of a worker is a hint, which counts only where the folder
does not say how the job ended: a scheduler may forget a job, or call a lost job successful.
"""

from enum import StrEnum
from typing import Final, Protocol

from backends.local_gpu.jobs.run_dir import RunDir
from backends.local_gpu.jobs.worker_record import Worker

MAX_STARTS: Final = 3
"""Starts in a row without a new checkpoint, after which a run is given up."""
LOG_LINES: Final = 12
"""Lines of a worker's output that are shown."""


class WorkerState(StrEnum):
    """State of a run's newest worker."""

    WAITING = "waiting"
    """The worker has no device yet."""
    WORKING = "working"
    GONE = "gone"
    """No worker was started, or it has ended."""


class Workers(Protocol):
    """Starts workers, and follows them. Each method returns at once and may be repeated."""

    def find(self, run: RunDir) -> Worker | None:
        """Return the worker of a run that was started last, whether it still lives or not."""

    def submit(self, run: RunDir, lock: int, starts: int) -> None:
        """Start a worker that trains, or continues to train, what the run folder asks for.

        Args:
            run: The run. It has no living worker and no result.
            lock: The run's lock, which the caller has. A worker on this machine takes it over.
            starts: Starts in a row, this start included, without a new checkpoint.
        """

    def state(self, run: RunDir) -> WorkerState:
        """Return the state of the run's newest worker."""

    def words(self, run: RunDir) -> str:
        """Return what a worker waits for, or why there is none, for people."""

    def ended(self, run: RunDir) -> None:
        """Tell where the workers are how a run ended whose result was written here."""

    def stop(self, run: RunDir, *, at_once: bool) -> None:
        """End the run's worker, if it lives.

        Args:
            run: The run.
            at_once: True to kill the worker; False to let it save a checkpoint first.
        """

    def logs(self, run: RunDir, lines: int = LOG_LINES) -> list[str]:
        """Return the last lines of the worker's output."""
