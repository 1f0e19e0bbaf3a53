"""Losses and norms of steps, left on the device until there is a reason to read them.

Reading a number makes the host wait for all work that it has given to the device. Every number is
read before a checkpoint or the end, so that none which is not finite is lost.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import torch

READ_S: Final = 0.2
"""Least seconds between two readings, unless there is another reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Measurements of one step."""

    step: int
    loss: float
    grad_norm: float
    learning_rate: float


@dataclass(slots=True)
class Readings:
    """Steps whose numbers are still on the device."""

    _pending: list[tuple[int, float]] = field(default_factory=list)
    _values: list[torch.Tensor] = field(default_factory=list)
    _read: float = field(default_factory=time.monotonic)

    def add(self, step: int, loss: torch.Tensor, norm: torch.Tensor, rate: float) -> None:
        """Keep a step's numbers.

        Args:
            step: The step, counted from 1.
            loss: Its mean loss.
            norm: Norm of its gradients.
            rate: Its learning rate.
        """
        self._pending.append((step, rate))
        self._values.append(torch.stack([loss.detach().float(), norm.detach().float()]))

    def are_due(self) -> bool:
        """Return True if the last reading is long enough ago."""
        return time.monotonic() - self._read >= READ_S

    def take(self) -> Iterator[Reading]:
        """Yield all steps that were not read yet, read at once."""
        if not self._pending:
            return
        numbers = torch.stack(self._values).tolist()
        pending, self._pending, self._values = self._pending, [], []
        self._read = time.monotonic()
        for (step, rate), (loss, norm) in zip(pending, numbers, strict=True):
            yield Reading(step=step, loss=loss, grad_norm=norm, learning_rate=rate)
