"""The objective of supervised training and continued pre-training: likelihood of labelled tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from backends.local_gpu.training.batching import Batch, collate, count_of, pack, part_of
from backends.local_gpu.training.loss import LabelledLoss, labels_in
from backends.local_gpu.training.objectives.objective import Outcome
from backends.local_gpu.training.tokenized_dataset import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequences:
    """Examples of one text each. Implements `ExampleSet`."""

    rows: Tokens
    packed: bool = False
    """True if the examples of a batch share a row."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each example."""
        return self.rows.lengths

    def part(self, places: Sequence[int]) -> tuple[int, int]:
        """Return the number of tokens of some examples, and how many of them are in the loss."""
        return self.rows.part(places)

    def collate(self, places: Sequence[int]) -> Batch:
        """Return a batch of rows, padded or packed."""
        return pack(self.rows, places) if self.packed else collate(self.rows, places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """Mean negative log likelihood of the labelled tokens. Implements `Objective`."""

    loss: LabelledLoss
    train: Sequences
    held_out: Sequences

    @property
    def regroups(self) -> bool:
        """Return True: an example's loss does not depend on the other examples."""
        return True

    def outcome(self, batch: Batch) -> Outcome:
        """Return the summed negative log likelihood of the labelled tokens, in nats."""
        return Outcome(total=self.loss.total(batch))

    def items(self, batch: Batch) -> int:
        """Return the number of labelled tokens."""
        return labels_in(batch)

    def halves(self, batch: Batch) -> tuple[Batch, Batch] | None:
        """Return the first rows of a batch, and the others."""
        rows = range(count_of(batch))
        middle = (len(rows) + 1) // 2
        if len(rows) == 1:
            return None
        return part_of(batch, rows[:middle]), part_of(batch, rows[middle:])

    def named(self, observed: torch.Tensor) -> dict[str, float]:
        """Return nothing: the loss tells all."""
        del observed
        return {}
