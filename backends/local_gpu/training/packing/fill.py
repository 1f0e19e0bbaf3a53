"""Batches filled to a number of tokens, packed or padded.

They follow from the seed alone and stay the same in every epoch, so that all epochs have as many
steps. Only their order changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_POOL: Final = 8192
"""Examples that are sorted together: fewer would fill batches less, more would take long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The largest batch."""

    tokens: int
    """Most tokens of a batch, with its padding."""
    packed: bool
    """True if examples share a row; False if each is a row, padded to the longest."""


def budget_of(settings: Mapping[str, Any]) -> Budget | None:
    """Return the largest batch of a job; None where batches have a number of examples."""
    tokens = settings.get("max_tokens_per_batch")
    if tokens is None:
        return None
    return Budget(tokens=int(tokens), packed=bool(settings.get("packing")))


def fill(lengths: npt.NDArray[np.int64], budget: Budget, seed: int) -> list[list[int]]:
    """Return the batches of a set, each within the budget.

    Args:
        lengths: Tokens of each example, none above the budget.
        budget: The largest batch.
        seed: Seed of the fine-tune.
    """
    shuffled = np.random.default_rng([seed, len(lengths)]).permutation(len(lengths))
    batches: list[list[int]] = []
    for start in range(0, len(shuffled), _POOL):
        part = shuffled[start : start + _POOL]
        # A stable sort keeps the shuffled order among equals.
        part = part[np.argsort(-lengths[part], kind="stable")]
        batches += _packed(lengths, part, budget) if budget.packed else cut(lengths, part, budget)
    return batches


def ordered(
    batches: list[list[int]],
    lengths: npt.NDArray[np.int64],
    seed: int,
    epoch: int,
    *,
    packed: bool,
) -> list[list[int]]:
    """Return the batches in the order of an epoch; the largest comes first, to try the memory.

    Args:
        batches: The batches.
        lengths: Tokens of each example.
        seed: Seed of the fine-tune.
        epoch: Counted from 0.
        packed: True if the examples of a batch share a row.
    """
    mixed = [batches[at] for at in np.random.default_rng([seed, epoch]).permutation(len(batches))]
    if mixed:
        sizes = [size(lengths[batch], packed=packed) for batch in mixed]
        largest = int(np.argmax(sizes))
        mixed[0], mixed[largest] = mixed[largest], mixed[0]
    return mixed


def size(lengths: npt.NDArray[np.int64], *, packed: bool) -> int:
    """Return the tokens of a batch with its padding, by the lengths of its examples."""
    return int(lengths.sum() if packed else len(lengths) * lengths.max())


def cut(
    lengths: npt.NDArray[np.int64], places: npt.NDArray[np.int64], budget: Budget
) -> list[list[int]]:
    """Cut examples that are sorted by length, the longest first, into padded batches."""
    batches, start = [], 0
    while start < len(places):
        rows = max(1, budget.tokens // max(1, int(lengths[places[start]])))
        batches.append(places[start : start + rows].tolist())
        start += rows
    return batches


def _packed(
    lengths: npt.NDArray[np.int64], places: npt.NDArray[np.int64], budget: Budget
) -> list[list[int]]:
    """Put each example, the longest first, into the first batch that has room for it."""
    room = np.full(len(places) + 1, budget.tokens, dtype=np.int64)
    batches: list[list[int]] = []
    for place in places:
        # The last of these is an empty one.
        first = int(np.argmax(room[: len(batches) + 1] >= lengths[place]))
        if first == len(batches):
            batches.append([])
        batches[first].append(int(place))
        room[first] -= lengths[place]
    return batches
