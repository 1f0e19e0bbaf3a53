"""The processes of a job, and what they tell each other.

`jobs.ranks` starts them. Numbers go by gloo, over the loopback; tensors on GPUs by NCCL.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import torch
from torch import distributed

from backends.local_gpu.jobs.rank_protocol import RENDEZVOUS

_PATIENCE: Final = timedelta(days=30)
"""Time that processes wait for each other. The process that started them ends them when one dies."""
_NAMES: Final = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
_LOST: Final = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
"""Words of errors that another process's end causes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The processes of a job as one of them sees them."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """True for the process that writes progress, checkpoints and the model."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """True if there is no other process."""
        return self.size == 1

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of every process's values; they must be on all processes' devices."""
        if self.is_alone:
            return values
        total = values.detach().clone()
        distributed.all_reduce(total)
        return total

    def most(self, *numbers: float) -> list[float]:
        """Return the largest of every process's numbers, in the order of the numbers."""
        if self.is_alone:
            return list(numbers)
        values = torch.tensor(numbers, dtype=torch.float64)
        distributed.all_reduce(values, distributed.ReduceOp.MAX)
        found: list[float] = values.tolist()
        return found

    def wait(self) -> None:
        """Wait until every process is here."""
        self.most(0)

    @contextmanager
    def first_first(self) -> Iterator[None]:
        """Let the first process finish the block before the others enter it."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def own(self, batches: Sequence[list[int]]) -> list[tuple[list[int], bool]]:
        """Return this process's part of some batches, as many as every other's.

        Returns:
            Batches, each with True if it counts: where there are too few, one is computed again.
        """
        mine = [(batch, True) for batch in batches[self.rank :: self.size]]
        turns = -(-len(batches) // self.size)
        return mine + [(batches[0], False)] * (turns - len(mine))


def join(where: torch.device) -> World:
    """Return the processes of this process's job, once all of them are here.

    Args:
        where: The device of this process.
    """
    # Out of sight of libraries, which would divide batches and wrap models a second time.
    rank, _, size = (os.environ.pop(name, None) for name in _NAMES)
    if rank is None or size is None:
        return World()
    distributed.init_process_group(
        "gloo" if where.type == "cpu" else "cpu:gloo,cuda:nccl",
        init_method=_meeting(os.environ[RENDEZVOUS]),
        rank=int(rank),
        world_size=int(size),
        timeout=_PATIENCE,
    )
    return World(rank=int(rank), size=int(size))


def _meeting(place: str) -> str:
    """Return where processes meet, as torch writes it: a file of one machine, or an address."""
    return place if place.startswith("tcp://") else f"file://{place}"


def is_lost(error: BaseException) -> bool:
    """Return True if an error means that another process is gone."""
    known = isinstance(error, distributed.DistError)
    return known or any(words in str(error) for words in _LOST)
