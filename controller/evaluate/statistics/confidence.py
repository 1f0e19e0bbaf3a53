"""Confidence distributions: bounds of a score at fixed one-sided probabilities. Pure.

The bound at probability 0.025 is the lower end of the two-sided interval of 95 %, the bound at 0.975
its upper end. Between the recorded bounds, bounds are interpolated linearly over normal scores: a
normal distribution is reproduced exactly.
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Final

NORMAL: Final = NormalDist()
_LOWER: Final = (0.0005, 0.0025, 0.005, 0.0125, 0.025, 0.05, 0.1, 0.25)
PROBABILITIES: Final = (*_LOWER, 0.5, *(round(1 - tail, 4) for tail in reversed(_LOWER)))
"""Probabilities of the recorded bounds."""
HIGHEST_LEVEL: Final = 1 - 2 * _LOWER[0]
"""Highest level of a two-sided interval that recorded bounds have: 0.999."""
_SCORES: Final = tuple(NORMAL.inv_cdf(probability) for probability in PROBABILITIES)

Bounds = Sequence[float | None]
"""A bound for each of `PROBABILITIES`, rising; None where the examples are too few for one."""


def bound(bounds: Bounds, probability: float) -> float | None:
    """Return the bound at a probability; None if it lies outside of the bounds there are."""
    score = NORMAL.inv_cdf(probability)
    known = _known(bounds)
    for (left, low), (right, high) in pairwise(known):
        # A level such as 0.999 comes back from its arithmetic with a rounding error.
        if left - 1e-9 <= score <= right + 1e-9:
            share = max(0.0, (score - left) / (right - left))
            return high if share >= 1 else min(high, low + (high - low) * share)
    return None


def confidence_below(bounds: Bounds, threshold: float) -> tuple[float, float]:
    """Return the confidence that the true value lies below a threshold, as its least and greatest.

    Both are the same, except where a bound is repeated (a score that ends at 1), or where the
    threshold lies outside of the bounds there are.
    """
    known = _known(bounds)
    if not known:
        return 0.0, 1.0
    under = [score for score, value in known if value < threshold]
    over = [score for score, value in known if value > threshold]
    if not under and not over:
        return 0.0, 1.0
    equal = [score for score, value in known if value == threshold]
    if equal:
        least = _probability(equal[0]) if under else 0.0
        return least, _probability(equal[-1]) if over else 1.0
    if not under:
        return 0.0, _probability(over[0])
    if not over:
        return _probability(under[-1]), 1.0
    (left, low), (right, high) = known[len(under) - 1], known[len(under)]
    confidence = _probability(left + (right - left) * (threshold - low) / (high - low))
    return confidence, confidence


def _probability(score: float) -> float:
    """Return the probability of a normal score, without the rounding error of a recorded one."""
    return round(NORMAL.cdf(score), 12)


def _known(bounds: Bounds) -> list[tuple[float, float]]:
    return [
        (score, value) for score, value in zip(_SCORES, bounds, strict=True) if value is not None
    ]
