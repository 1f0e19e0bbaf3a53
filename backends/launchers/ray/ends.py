"""Rules for the end of a job on several nodes: which end counts, when the others end. Pure."""

from dataclasses import dataclass, field
from typing import Final

STOPPED: Final = 143
"""Exit status after SIGTERM, as in shells."""
DOLLAR: Final = "\x01"
"""Stands for a dollar in the variables of a job: Ray expands what looks like the name of another one."""
GRACE_S: Final = 30.0
"""Seconds that the others may take to end by themselves, or to save, once one has ended."""


@dataclass(slots=True, kw_only=True)
class Ends:
    """Ends of the commands, as they come."""

    nodes: int
    statuses: dict[int, int] = field(default_factory=dict)
    """Exit status of each node whose command has ended."""
    blamed: int | None = None
    """First node whose command ended badly, before the others were ended."""
    is_stopping: bool = False
    """True if all commands must end."""
    deadline: float = float("inf")
    """Time of the monotonic clock at which those that are left are killed."""

    def stop(self, now: float, seconds: float) -> None:
        """Note that all commands were told to end.

        Args:
            now: Time of the monotonic clock.
            seconds: Seconds that they may take.
        """
        self.is_stopping = True
        self.deadline = min(self.deadline, now + seconds)

    def add(self, node: int, status: int, now: float) -> bool:
        """Note how a command ended; return True if the others have to be told to end.

        Args:
            node: Number of its node.
            status: Exit status of the command.
            now: Time of the monotonic clock.
        """
        self.statuses[node] = status
        was_stopping = self.is_stopping
        is_bad = status != 0 and not (was_stopping and status == STOPPED)
        if is_bad and not was_stopping:
            self.blamed = node
        if is_bad and not self.is_over:
            self.stop(now, GRACE_S)
        elif node == 0:
            # Node 0 writes the result. The others have nothing left to do.
            self.deadline = min(self.deadline, now + GRACE_S)
        return self.is_stopping and not was_stopping

    @property
    def is_over(self) -> bool:
        """True if all commands have ended."""
        return len(self.statuses) == self.nodes

    @property
    def status(self) -> int:
        """Exit status of the job, once all commands have ended."""
        return self.statuses[self.blamed or 0]
