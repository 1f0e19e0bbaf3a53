"""An objective: what a training minimises, over which examples.

The trainer knows nothing else of a method. Another method is another module in this package.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

Batch: TypeAlias = Mapping[str, torch.Tensor]
"""Tensors of some examples."""


class ExampleSet(Protocol):
    """Encoded examples of one split."""

    def __len__(self) -> int:
        """Return the number of examples."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Length of the longest row that each example has in a batch, in tokens."""

    @property
    def tokens(self) -> int:
        """Number of tokens that one pass reads."""

    @property
    def labels(self) -> int:
        """Number of tokens in the loss."""

    def collate(self, places: Sequence[int]) -> Batch:
        """Return a batch of examples."""


class Objective(Protocol):
    """What a training minimises: a mean over items, which are tokens or examples."""

    @property
    def train(self) -> ExampleSet:
        """Examples to train on."""

    @property
    def held_out(self) -> ExampleSet:
        """Examples to measure."""

    def total(self, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch, summed over its items."""

    def items(self, batch: Batch) -> torch.Tensor:
        """Return the number of items in a batch, over which the loss of a step is the mean."""
