"""The objective of `kto`: good answers become likelier, and bad ones less likely, next to the base.

The loss is that of TRL's KTOTrainer. It measures rewards from a point that moves with the model: how
much likelier it makes answers that do not belong to their questions. Each row of a batch gets the
answer of the row before for that, so a batch keeps its examples in every epoch, and the base model
measures these rows only once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from backends.local_gpu.tokens.chat_tokens import Encoded
from backends.local_gpu.training.batching import Batch, collate
from backends.local_gpu.training.loss import LabelledLoss
from backends.local_gpu.training.objectives import rewards
from backends.local_gpu.training.objectives.objective import Outcome
from backends.local_gpu.training.tokenized_dataset import Tokens, flatten

_OTHER = "other_"
"""Prefix of the tensors of rows with an answer to another question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """Answers that are marked as good or bad. Implements `ExampleSet`."""

    rows: Tokens
    good: npt.NDArray[np.bool_]
    """For each row, True if its answer is good."""
    reference: npt.NDArray[np.float64]
    """Log-probability of each row's answer under the base model."""
    others: Tokens
    """Each row's question with the answer of another row; see `mismatched`."""
    other_reference: npt.NDArray[np.float64]
    """Log-probability of these answers under the base model."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each row."""
        return self.rows.lengths

    def part(self, places: Sequence[int]) -> tuple[int, int]:
        """Return the number of tokens of some examples, and how many of them are in the loss."""
        return self.rows.part(places)

    def collate(self, places: Sequence[int]) -> Batch:
        """Return some rows, their marks and references, and the rows with other answers."""
        others = collate(self.others, places)
        at = list(places)
        return {
            **collate(self.rows, places),
            **{f"{_OTHER}{key}": value for key, value in others.items()},
            "good": torch.from_numpy(self.good[at]),
            "reference": torch.from_numpy(self.reference[at]).float(),
            "other_reference": torch.from_numpy(self.other_reference[at]).float(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedLoss:
    """The loss of marked answers. Implements `Objective`."""

    loss: LabelledLoss
    train: Marked
    held_out: Marked
    beta: float
    desirable_weight: float
    undesirable_weight: float

    @property
    def regroups(self) -> bool:
        """Return False: the rows of a batch have each other's answers."""
        return False

    def outcome(self, batch: Batch) -> Outcome:
        """Return the summed loss of the answers, and their rewards."""
        good, start = batch["good"], self.start(batch)
        ratios = -self.loss.per_example(batch) - batch["reference"]
        sign = torch.where(good, 1.0, -1.0)
        losses = 1 - torch.sigmoid(self.beta * sign * (ratios - start))
        weights = torch.where(good, self.desirable_weight, self.undesirable_weight)
        observed = rewards.of_marked(self.beta * ratios, good)
        return Outcome(total=(weights * losses).sum(), observed=observed)

    def items(self, batch: Batch) -> int:
        """Return the number of answers."""
        return len(batch["input_ids"])

    def halves(self, batch: Batch) -> None:
        """Return None: the rows of a batch have each other's answers."""
        del batch

    def named(self, observed: torch.Tensor) -> dict[str, float]:
        """Return the accuracy and the margin of the rewards."""
        return rewards.named(observed)

    def start(self, batch: Batch) -> torch.Tensor:
        """Return the log ratio that counts as no reward: an estimate of the distance to the base."""
        others = {
            key.removeprefix(_OTHER): value
            for key, value in batch.items()
            if key.startswith(_OTHER) and key != "other_reference"
        }
        with torch.no_grad():
            ratios = -self.loss.per_example(others) - batch["other_reference"]
            return ratios.mean().clamp(min=0)


def mismatched(rows: Tokens, batches: Sequence[Sequence[int]], longest: int | None) -> Tokens:
    """Return each row's question with the answer of the row before it in its batch.

    Args:
        rows: The rows.
        batches: Rows that share a batch. A row alone in a batch gets an answer of another batch.
        longest: Most tokens that the model reads; what is longer is cut at its end.
    """
    made: list[Encoded | None] = [None] * len(rows)
    for number, batch in enumerate(batches):
        for place, before in zip(batch, [batch[-1], *batch[:-1]], strict=True):
            lender = batches[number - 1][0] if before == place else before
            question, answer = _parts(rows, place)[0], _parts(rows, lender)[1]
            ids = [*question.ids, *answer.ids][:longest]
            learned = [*question.learned, *answer.learned][:longest]
            made[place] = Encoded(ids=ids, learned=learned)
    return flatten(one for one in made if one is not None)


def _parts(rows: Tokens, place: int) -> tuple[Encoded, Encoded]:
    """Return a row before its answer, and from the answer on."""
    ids, learned = rows[place]
    start = int(learned.argmax())
    return (
        Encoded(ids=ids[:start].tolist(), learned=learned[:start].tolist()),
        Encoded(ids=ids[start:].tolist(), learned=learned[start:].tolist()),
    )
