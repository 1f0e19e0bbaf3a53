"""Times of a training: when a checkpoint is worth its time, and how long a step takes.

Checkpoints take at most a twentieth of a training's time, however slow the disk. A step's time
excludes measuring held-out examples and writing checkpoints.
"""

from dataclasses import dataclass
from typing import Final

SHARE: Final = 0.05
"""Largest part of a training's time that checkpoints may take."""
EVERY_S: Final = 30.0
"""Least seconds between two checkpoints within an epoch."""
_BYTES_PER_S: Final = 200e6
"""Bytes per second that a disk is assumed to write until a checkpoint was timed."""
_LEAST_S: Final = 0.1
"""Seconds that the first checkpoint is assumed to take, however small it is."""


@dataclass(slots=True, kw_only=True)
class Pace:
    """The times of a single start of a training, in seconds."""

    started: float
    """Time at which the training began."""
    size: int
    """Bytes of a checkpoint, estimated before the first is written."""
    fixed: float | None = None
    """Seconds between checkpoints within an epoch, if set by a person; `SHARE` is ignored then."""
    saved: float = 0.0
    """Time at which writing the newest checkpoint began."""
    saving: float = 0.0
    """Seconds spent on all checkpoints."""
    cost: float = 0.0
    """Seconds spent on the newest checkpoint; an estimate before the first."""
    measuring: float = 0.0
    """Seconds spent measuring held-out examples."""
    measured: float = 0.0
    """Seconds spent on the newest measurement."""

    def __post_init__(self) -> None:
        self.saved = self.saved or self.started
        self.cost = self.cost or max(_LEAST_S, self.size / _BYTES_PER_S)

    def is_due(self, now: float, *, epoch_ends: bool) -> bool:
        """Return True if it is time to write a checkpoint.

        Args:
            now: The time.
            epoch_ends: True at the end of an epoch, where the least time between checkpoints is
                ignored.
        """
        if self.fixed is not None:
            return epoch_ends or now - self.saved >= self.fixed
        if not epoch_ends and now - self.saved < EVERY_S:
            return False
        return self.saving + self.cost <= SHARE * (now - self.started)

    def expect(self, size: int, bytes_per_s: float | None = None) -> None:
        """Estimate the first checkpoint anew.

        Args:
            size: Its bytes.
            bytes_per_s: Speed of the disk, if it was measured; no faster speed counts than assumed.
        """
        self.size = size
        speed = _BYTES_PER_S if bytes_per_s is None else min(bytes_per_s, _BYTES_PER_S)
        self.cost = max(_LEAST_S, size / speed)

    def note_saving(self, began: float, ended: float) -> None:
        """Record the times of writing a checkpoint."""
        self.saved = began
        self.cost = ended - began
        self.saving += self.cost

    def note_measuring(self, began: float, ended: float) -> None:
        """Record the times of measuring held-out examples."""
        self.measured = ended - began
        self.measuring += self.measured

    def per_step(self, now: float, steps: int) -> float:
        """Return the mean time of a step.

        Args:
            now: The time.
            steps: Optimiser steps of this start.
        """
        busy = now - self.started - self.measuring - self.saving
        return max(busy, 0.0) / max(steps, 1)

    def left(self, now: float, steps: int, more: int, measurements: int) -> float:
        """Return the remaining time, with measurements included.

        Args:
            now: The time.
            steps: Optimiser steps of this start.
            more: Optimiser steps that remain.
            measurements: Measurements that remain.
        """
        return self.per_step(now, steps) * more + self.measured * measurements
