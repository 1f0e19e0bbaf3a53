"""When a checkpoint is worth its time, and what a training really needs for its steps.

Checkpoints take at most a twentieth of a training's time, however slow the disk; measuring held-out
examples and writing are no part of what a step takes.
"""

from dataclasses import dataclass
from typing import Final

SHARE: Final = 0.05
"""Largest part of a training's time that checkpoints may take."""
EVERY_S: Final = 30.0
"""Least seconds between two checkpoints within an epoch."""
_BYTES_PER_S: Final = 200e6
"""What a disk is thought to write until a checkpoint has been timed."""


@dataclass(slots=True, kw_only=True)
class Pace:
    """The times of one start of a training, in seconds."""

    started: float
    """When the training began."""
    size: int
    """Bytes of a checkpoint, as far as they can be told before one is written."""
    fixed: float | None = None
    """Seconds between checkpoints within an epoch that a person chose: no share is kept then."""
    saved: float = 0.0
    """When the newest checkpoint was begun."""
    saving: float = 0.0
    """Time that checkpoints took."""
    cost: float = 0.0
    """Time that the newest of them took; until there is one, what it is expected to take."""
    measuring: float = 0.0
    """Time that measuring held-out examples took."""
    measured: float = 0.0
    """Time that the newest of those took."""

    def __post_init__(self) -> None:
        self.saved = self.saved or self.started
        self.cost = self.cost or self.size / _BYTES_PER_S

    def is_due(self, now: float, *, epoch_ends: bool) -> bool:
        """Return whether a checkpoint shall be written.

        Args:
            now: The time.
            epoch_ends: Whether an epoch has ended: then it need not be long since the last one.
        """
        if self.fixed is not None:
            return epoch_ends or now - self.saved >= self.fixed
        if not epoch_ends and now - self.saved < EVERY_S:
            return False
        return self.saving + self.cost <= SHARE * (now - self.started)

    def note_saving(self, began: float, ended: float) -> None:
        """Take in that a checkpoint was written."""
        self.saved = began
        self.cost = ended - began
        self.saving += self.cost

    def note_measuring(self, began: float, ended: float) -> None:
        """Take in that held-out examples were measured."""
        self.measured = ended - began
        self.measuring += self.measured

    def per_step(self, now: float, steps: int) -> float:
        """Return the time that a step takes.

        Args:
            now: The time.
            steps: Optimiser steps of this start.
        """
        busy = now - self.started - self.measuring - self.saving
        return max(busy, 0.0) / max(steps, 1)

    def left(self, now: float, steps: int, more: int, epochs: int) -> float:
        """Return the time that is left, measuring after each epoch included.

        Args:
            now: The time.
            steps: Optimiser steps of this start.
            more: Optimiser steps to come.
            epochs: Epochs that are still to end.
        """
        return self.per_step(now, steps) * more + self.measured * epochs
