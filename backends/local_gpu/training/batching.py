"""Batches of examples, their order, and their tensors.

The order follows from the seed and the epoch alone. Examples of similar length share a batch, so
that little is padded. The longest batch comes first, so that a lack of memory shows at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from backends.local_gpu.training.packing.documents import STARTS
from backends.local_gpu.training.packing.fill import Budget, cut, fill, ordered
from backends.local_gpu.training.tokenized_dataset import IGNORED, Tokens

Batch: TypeAlias = Mapping[str, torch.Tensor]
"""Tensors of some examples."""
LABELLED: Final = "labelled"
"""Name of a batch's tensor with the row and the column of every position whose next token is
learned: (2, labels)."""
_POOL: Final = 50
"""Batches sorted by length together; more would make batches alike from epoch to epoch."""
_POOLS: Final = 4
"""Least number of pools, so that small sets are mixed too."""


@dataclass(frozen=True, slots=True)
class Examples:
    """A dataset whose examples are their own numbers."""

    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> int:
        return place


class Batches:
    """The batches of one epoch after the other.

    Attributes:
        epoch: The next epoch; set by the trainer.
        accumulation: Batches per optimiser step.
        budget: The largest batch; None where batches have a number of examples.
    """

    def __init__(
        self,
        lengths: npt.NDArray[np.int64],
        size: int,
        accumulation: int,
        seed: int,
        *,
        regroups: bool = True,
        budget: Budget | None = None,
    ) -> None:
        """Prepare the batches.

        Args:
            lengths: Tokens of each example.
            size: Examples per batch.
            accumulation: Batches per optimiser step.
            seed: Seed of the fine-tune.
            regroups: False to keep batches, and change only the order of the steps.
            budget: The largest batch, instead of `size`.
        """
        self.epoch = 0
        self._regroups = regroups
        self._lengths = lengths
        self._size = size
        self._seed = seed
        self.accumulation = accumulation
        self.budget = budget
        self._filled = [] if budget is None else fill(lengths, budget, seed)

    def __len__(self) -> int:
        if self.budget is not None:
            return len(self._filled)
        return (len(self._lengths) + self._size - 1) // self._size

    def __iter__(self) -> Iterator[list[int]]:
        if self.budget is not None:
            packed, epoch = self.budget.packed, self.epoch
            yield from ordered(self._filled, self._lengths, self._seed, epoch, packed=packed)
            return
        whole, epoch = self._size * self.accumulation, self.epoch
        steps = epoch_batches(self._lengths, whole, self._seed, epoch if self._regroups else 0)
        if epoch and not self._regroups:
            steps = reordered(steps, whole, self._seed, epoch)
        for step in steps:
            for start in range(0, len(step), self._size):
                yield step[start : start + self._size]


def epoch_batches(
    lengths: npt.NDArray[np.int64], step_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """Return the examples of every optimiser step of an epoch.

    Args:
        lengths: Tokens of each example.
        step_size: Examples per optimiser step; the last step may have fewer.
        seed: Seed of the fine-tune.
        epoch: Counted from 0.
    """
    random = np.random.default_rng([seed, epoch])
    shuffled = random.permutation(len(lengths))
    pool = step_size * max(1, min(len(lengths) // (step_size * _POOLS), _POOL))
    steps: list[list[int]] = []
    for start in range(0, len(shuffled), pool):
        part = shuffled[start : start + pool]
        # A stable sort keeps the shuffled order among equals.
        part = part[np.argsort(-lengths[part], kind="stable")]
        steps += [part[at : at + step_size].tolist() for at in range(0, len(part), step_size)]
    # An incomplete step must be the last: every other one is counted as complete.
    rest = [steps.pop()] if len(lengths) % step_size else []
    random.shuffle(steps)
    if steps:
        first = max(range(len(steps)), key=lambda place: int(lengths[steps[place]].max()))
        steps[0], steps[first] = steps[first], steps[0]
    return steps + rest


def reordered(steps: list[list[int]], step_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return the steps of the first epoch in the order of another; an incomplete one stays last."""
    whole = [step for step in steps if len(step) == step_size]
    np.random.default_rng([seed, epoch]).shuffle(whole)
    return [*whole, *(step for step in steps if len(step) != step_size)]


def by_length(
    lengths: npt.NDArray[np.int64], size: int, budget: Budget | None = None
) -> list[list[int]]:
    """Return padded batches of examples of similar length, longest first; for measuring.

    Args:
        lengths: Tokens of each example.
        size: Examples per batch.
        budget: The largest batch, instead of `size`.
    """
    places = np.argsort(-lengths, kind="stable")
    if budget is not None:
        return cut(lengths, places, budget)
    return [places[at : at + size].tolist() for at in range(0, len(places), size)]


def count_of(batch: Batch) -> int:
    """Return the number of rows of a padded batch, or of examples in a packed one."""
    return len(batch[STARTS]) - 1 if STARTS in batch else len(batch["input_ids"])


def part_of(batch: Batch, rows: Sequence[int]) -> Batch:
    """Return some rows of a batch, without padding that all of them have.

    Args:
        batch: A batch, padded or packed.
        rows: Rows; of a packed batch, examples that follow each other.
    """
    if STARTS in batch:
        starts = batch[STARTS][rows[0] : rows[-1] + 2]
        span = slice(int(starts[0]), int(starts[-1]))
        part = {key: batch[key][:, span] for key in ("input_ids", "position_ids", "labels")}
        part[STARTS] = starts - starts[0]
    else:
        at = torch.tensor(rows, device=batch["input_ids"].device)
        part = {key: value[at] for key, value in batch.items() if key != LABELLED}
        longest = int(part["attention_mask"].sum(dim=1).max())
        for key in ("input_ids", "attention_mask", "labels"):
            part[key] = part[key][:, :longest]
    learned = part["labels"][:, 1:] != IGNORED
    return {**part, LABELLED: torch.stack(torch.nonzero(learned, as_tuple=True))}


def collate(tokens: Tokens, places: Sequence[int]) -> dict[str, torch.Tensor]:
    """Stack examples, padded at the end to the longest.

    The attention mask and the labels mark the padding, so its ID (0) may be the ID of any token.

    Returns:
        `input_ids`, `attention_mask` and `labels`, each (batch, longest), and `LABELLED`.
    """
    rows = [tokens[place] for place in places]
    shape = len(rows), max(len(ids) for ids, _ in rows)
    input_ids = np.zeros(shape, dtype=np.int64)
    attention_mask = np.zeros(shape, dtype=np.int64)
    labels = np.full(shape, IGNORED, dtype=np.int64)
    for row, (ids, learned) in enumerate(rows):
        input_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
        labels[row, : len(ids)] = np.where(learned, ids, IGNORED)
    return {
        "input_ids": torch.from_numpy(input_ids),
        "attention_mask": torch.from_numpy(attention_mask),
        "labels": torch.from_numpy(labels),
        LABELLED: _labelled(labels),
    }


def pack(tokens: Tokens, places: Sequence[int]) -> dict[str, torch.Tensor]:
    """Put examples into one row, one after the other.

    The first token of an example is not a label: in a row of its own, nothing predicts it.

    Returns:
        `input_ids`, `position_ids` and `labels`, each (1, tokens), `STARTS` and `LABELLED`.
    """
    rows = [tokens[place] for place in places]
    starts = np.cumsum([0, *(len(ids) for ids, _ in rows)], dtype=np.int32)
    input_ids = np.concatenate([ids for ids, _ in rows]).astype(np.int64)
    learned = np.concatenate([learned for _, learned in rows])
    labels = np.where(learned, input_ids, IGNORED)[None]
    labels[0, starts[:-1]] = IGNORED
    positions = np.arange(len(input_ids)) - np.repeat(starts[:-1], np.diff(starts))
    return {
        "input_ids": torch.from_numpy(input_ids)[None],
        "position_ids": torch.from_numpy(positions)[None],
        "labels": torch.from_numpy(labels),
        STARTS: torch.from_numpy(starts),
        LABELLED: _labelled(labels),
    }


def _labelled(labels: npt.NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(np.stack(np.nonzero(labels[:, 1:] != IGNORED)))
