"""An objective: what a training minimises, over which examples.

The trainer knows nothing else of a method. Another method is another module in this package.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from backends.local_gpu.training.batching import Batch
from backends.local_gpu.training.tokenized_dataset import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Loss of a batch, and what was observed on the way."""

    total: torch.Tensor
    """The loss, summed over the batch's items."""
    observed: torch.Tensor | None = None
    """Sums that `Objective.named` explains; those of several batches add up."""


class ExampleSet(Protocol):
    """Encoded examples of one split."""

    def __len__(self) -> int:
        """Return the number of examples."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Length of the longest row that each example has in a batch, in tokens."""

    @property
    def rows(self) -> Tokens:
        """All rows of the examples, one or more for each."""

    def part(self, places: Sequence[int]) -> tuple[int, int]:
        """Return the number of tokens of some examples, and how many of them are in the loss."""

    def collate(self, places: Sequence[int]) -> Batch:
        """Return a batch of examples."""


class Objective(Protocol):
    """Objective of a training: a mean over items, which are tokens or examples."""

    @property
    def train(self) -> ExampleSet:
        """Examples to train on."""

    @property
    def held_out(self) -> ExampleSet:
        """Examples to measure."""

    @property
    def regroups(self) -> bool:
        """True if every epoch may put other examples together; False if batches stay the same."""

    def outcome(self, batch: Batch) -> Outcome:
        """Return the loss of a batch."""

    def items(self, batch: Batch) -> int:
        """Return the number of items in a batch, over which the loss of a step is the mean."""

    def halves(self, batch: Batch) -> tuple[Batch, Batch] | None:
        """Return a batch in two parts whose losses add up to its own.

        None if it has a single example, or if its examples depend on each other.
        """

    def named(self, observed: torch.Tensor) -> dict[str, float]:
        """Return what was observed, by the names in progress and facts."""
