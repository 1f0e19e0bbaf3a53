"""Samples: a measured score, or a difference of two, with all that later judgements need. Pure.

A sample is small enough for a lockfile. Any level's interval and any threshold's p-value come from
it again, without the answers that were scored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from controller.evaluate.statistics.confidence import PROBABILITIES, bound, confidence_below
from controller.evaluate.statistics.intervals import (
    Pairs,
    difference_above,
    difference_below,
    difference_interval,
    proportion_above,
    proportion_below,
    wilson_interval,
)

FEWEST_GROUPS: Final = 20
"""Number of groups below which people are warned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A score of held-out examples, or the difference of two models' scores of the same examples.

    Exactly one of `right`, `pairs`, `quantiles` and `reason` is set.
    """

    n: int
    """Number of examples that count."""
    groups: int | None = None
    """Number of groups; None if each example is a group of its own."""
    right: int | None = None
    """Proportion: number of examples that are right."""
    pairs: tuple[int, int, int, int] | None = None
    """Difference of proportions: examples that both, only the candidate, only the rival, and
    neither of them answered right."""
    quantiles: tuple[float | None, ...] | None = None
    """Numbers, and everything in groups: a bound for each probability of `PROBABILITIES`; None
    where the examples are too few for one."""
    reason: str | None = None
    """Why there are no interval and no p-value: `all 20 examples have the same value`."""

    def __post_init__(self) -> None:
        """Check that the record makes sense.

        Raises:
            ValueError: A field contradicts another field.
        """
        if problem := _problem(self):
            raise ValueError(problem)

    def interval(self, level: float) -> tuple[float | None, float | None]:
        """Return the two-sided interval.

        Args:
            level: Confidence between 0 and 1: 0.95.

        Returns:
            Low and high end; None for an end that these examples cannot give.

        Raises:
            ValueError: The level is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level: {level}, allowed: between 0 and 1")
        if self.right is not None:
            return wilson_interval(*self._counted_right(), level)
        if self.pairs is not None:
            return difference_interval(self._counted_pairs(), level)
        if self.quantiles is not None:
            tail = (1 - level) / 2
            return bound(self.quantiles, tail), bound(self.quantiles, 1 - tail)
        return None, None

    def p_above(self, threshold: float) -> float | None:
        """Return the one-sided p-value of "the true value is greater than the threshold".

        A small value is sure. From quantiles it is an upper limit where the threshold lies outside
        of them. None if there is a `reason`.
        """
        if self.right is not None:
            return proportion_above(*self._counted_right(), threshold)
        if self.pairs is not None:
            return difference_above(self._counted_pairs(), threshold)
        if self.quantiles is not None:
            return confidence_below(self.quantiles, threshold)[1]
        return None

    def p_below(self, threshold: float) -> float | None:
        """Return the one-sided p-value of "the true value is less than the threshold".

        A small value is sure. From quantiles it is an upper limit where the threshold lies outside
        of them. None if there is a `reason`.
        """
        if self.right is not None:
            return proportion_below(*self._counted_right(), threshold)
        if self.pairs is not None:
            return difference_below(self._counted_pairs(), threshold)
        if self.quantiles is not None:
            return 1 - confidence_below(self.quantiles, threshold)[0]
        return None

    def _counted_right(self) -> tuple[int, int]:
        """Return the number right and the number of examples, a group counting as one example."""
        right = self.right or 0
        return (right, self.n) if self.groups is None else (right and self.groups, self.groups)

    def _counted_pairs(self) -> Pairs:
        both, candidate, rival, neither = self.pairs or (0, 0, 0, 0)
        if self.groups is not None:
            both, neither = self.groups, 0
        return Pairs(both=both, candidate=candidate, rival=rival, neither=neither)


def few_groups_warning(sample: Sample) -> str | None:
    """Return a sentence about groups that are few; None if they are enough, or no groups at all."""
    if sample.groups is None or sample.groups >= FEWEST_GROUPS:
        return None
    examples = "1 example" if sample.n == 1 else f"{sample.n:,} examples"
    groups = "1 group" if sample.groups == 1 else f"{sample.groups} groups"
    return (
        f"The {examples} come from only {groups}. Intervals and verdicts from fewer than "
        f"{FEWEST_GROUPS} groups are rough."
    )


def _problem(sample: Sample) -> str | None:
    """Return what contradicts itself in a sample, or None."""
    given = (sample.right, sample.pairs, sample.quantiles, sample.reason)
    if sum(one is not None for one in given) != 1:
        return "a sample has exactly one of right, pairs, quantiles and reason"
    if sample.n < 0 or (sample.groups is not None and not 0 <= sample.groups <= sample.n):
        return f"n: {sample.n}, groups: {sample.groups}: allowed are 0 <= groups <= n"
    if sample.n == 0 and sample.reason is None:
        return "a sample of no examples has a reason"
    if sample.quantiles is not None:
        return _quantile_problem(sample.quantiles)
    return _count_problem(sample)


def _count_problem(sample: Sample) -> str | None:
    grouped = sample.groups is not None
    if sample.right is not None:
        if not 0 <= sample.right <= sample.n:
            return f"right: {sample.right}, allowed: 0 to {sample.n}"
        if grouped and 0 < sample.right < sample.n:
            return "right: groups that are not all right or all wrong need quantiles"
    if sample.pairs is not None:
        if min(sample.pairs) < 0 or sum(sample.pairs) != sample.n:
            return f"pairs: {list(sample.pairs)}, allowed: four counts with the sum {sample.n}"
        if grouped and (sample.pairs[1] or sample.pairs[2]):
            return "pairs: groups with pairs that differ need quantiles"
    return None


def _quantile_problem(quantiles: Sequence[float | None]) -> str | None:
    known = [value for value in quantiles if value is not None]
    if len(quantiles) != len(PROBABILITIES):
        return f"quantiles: {len(quantiles)} numbers, allowed: {len(PROBABILITIES)}"
    if not all(map(math.isfinite, known)) or known != sorted(known):
        return f"quantiles: {list(quantiles)}, allowed: finite numbers that do not fall"
    return None
