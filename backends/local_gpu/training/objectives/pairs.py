"""The objective of `dpo`: a preferred answer becomes likelier than another one, next to the base.

The losses and their names are those of TRL's DPOTrainer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import logsigmoid

from backends.local_gpu.training.batching import Batch, collate, part_of
from backends.local_gpu.training.loss import LabelledLoss, labels_by_row
from backends.local_gpu.training.objectives import rewards
from backends.local_gpu.training.objectives.objective import Outcome
from backends.local_gpu.training.tokenized_dataset import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Preference pairs. Implements `ExampleSet`."""

    rows: Tokens
    """Two rows for each pair, the preferred answer first."""
    reference: npt.NDArray[np.float64]
    """Log-probability of each row's answer under the base model."""

    def __len__(self) -> int:
        return len(self.rows) // 2

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each pair's longer row."""
        longest: npt.NDArray[np.int64] = self.rows.lengths.reshape(-1, 2).max(axis=1, initial=0)
        return longest

    def part(self, places: Sequence[int]) -> tuple[int, int]:
        """Return the number of tokens of some examples, and how many of them are in the loss."""
        return self.rows.part([row for place in places for row in (2 * place, 2 * place + 1)])

    def collate(self, places: Sequence[int]) -> Batch:
        """Return the preferred rows of some pairs, then the others, with their references."""
        order = [2 * place for place in places] + [2 * place + 1 for place in places]
        reference = torch.from_numpy(self.reference[order])
        return {**collate(self.rows, order), "reference": reference.float()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLoss:
    """A loss of preference pairs. Implements `Objective`."""

    loss: LabelledLoss
    train: Pairs
    held_out: Pairs
    loss_type: str
    """`sigmoid`, `sigmoid_norm` or `ipo`."""
    beta: float

    @property
    def regroups(self) -> bool:
        """Return True: a pair's loss does not depend on the other pairs."""
        return True

    def outcome(self, batch: Batch) -> Outcome:
        """Return the summed loss of the pairs, and their rewards."""
        ratios = -self.loss.per_example(batch) - batch["reference"]
        chosen, rejected = ratios.chunk(2)
        observed = rewards.of_pairs(self.beta * chosen, self.beta * rejected)
        if self.loss_type != "sigmoid":
            chosen, rejected = (ratios / labels_by_row(batch)).chunk(2)
        difference = chosen - rejected
        if self.loss_type == "ipo":
            losses = (difference - 1 / (2 * self.beta)) ** 2
        else:
            losses = -logsigmoid(self.beta * difference)
        return Outcome(total=losses.sum(), observed=observed)

    def items(self, batch: Batch) -> int:
        """Return the number of pairs."""
        return len(batch["input_ids"]) // 2

    def halves(self, batch: Batch) -> tuple[Batch, Batch] | None:
        """Return the first pairs of a batch, and the others."""
        count = len(batch["input_ids"]) // 2
        middle = (count + 1) // 2
        if count == 1:
            return None
        first = [*range(middle), *range(count, count + middle)]
        second = [*range(middle, count), *range(count + middle, 2 * count)]
        return part_of(batch, first), part_of(batch, second)

    def named(self, observed: torch.Tensor) -> dict[str, float]:
        """Return the accuracy and the margin of the rewards."""
        return rewards.named(observed)
