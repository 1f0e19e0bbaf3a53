"""The batches of one process: its part of every step, the same steps as on one device.

Batches go round: neighbours in a step have similar lengths, so the processes have similar work. A
process that gets fewer batches of the last step computes one more that counts nothing, since all
wait for each other.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

import torch

from backends.local_gpu.hardware import Share
from backends.local_gpu.training.batching import Batch, Batches
from backends.local_gpu.training.parallel.world import World

_FLIP: Final = -1
"""The place of an example that counts nothing is written as this, minus the place."""


class Idle(dict[str, torch.Tensor]):
    """A batch that is computed and counts nothing."""


class Dealt:
    """The batches of one process. Stands for `Batches` in a DataLoader."""

    def __init__(self, batches: Batches, examples: int, share: Share, world: World) -> None:
        """Prepare the batches of a process.

        Args:
            batches: The batches of all processes, whose epoch the trainer sets.
            examples: Number of examples.
            share: The share of each process.
            world: The processes.
        """
        self._batches = batches
        self._examples = examples
        self._share = share
        self._world = world

    def __len__(self) -> int:
        """Return the number of batches that each process computes in an epoch."""
        accumulation = self._batches.accumulation
        steps = -(-len(self._batches) // accumulation)
        last = len(self._batches) - (steps - 1) * accumulation
        if self._share.size is not None:
            whole = self._share.size * self._share.accumulation * self._world.size
            last = -(-(self._examples - (steps - 1) * whole) // self._share.size)
        return (steps - 1) * self._share.accumulation + -(-last // self._world.size)

    def __iter__(self) -> Iterator[list[int]]:
        source = iter(self._batches)
        while step := list(islice(source, self._batches.accumulation)):
            for batch, counts in self._world.own(self._cut(step)):
                yield batch if counts else [_FLIP - batch[-1]]

    def _cut(self, step: list[list[int]]) -> list[list[int]]:
        size = self._share.size
        if size is None:
            return step
        places = [place for batch in step for place in batch]
        return [places[start : start + size] for start in range(0, len(places), size)]


def counting(collate: Callable[[Sequence[int]], Batch]) -> Callable[[Sequence[int]], Batch]:
    """Return a function that collates as another one does, and marks batches that count nothing."""

    def collated(places: Sequence[int]) -> Batch:
        if places[0] >= 0:
            return collate(places)
        return Idle(collate([_FLIP - place for place in places]))

    return collated
