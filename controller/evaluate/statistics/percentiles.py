"""Bounds of a percentile from the order of the values, without resampling. Pure.

The k-th smallest of n values lies above the true percentile exactly if fewer than k values lie below
it, which is a binomial probability for any distribution of the values. Between two values, bounds
are interpolated linearly over normal scores, as Hettmansperger and Sheather (1986) do for medians;
always taking the outer value instead would cover more than the level says.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from statistics import NormalDist

from controller.evaluate.statistics.confidence import PROBABILITIES

_NORMAL = NormalDist()


def order_bounds(values: Sequence[float], percent: float) -> tuple[float | None, ...]:
    """Return a bound of the true percentile for each of `PROBABILITIES`.

    Args:
        values: Independent values, at least one.
        percent: The percentile, between 0 and 100.

    Returns:
        None where even the outermost value is not sure enough: 20 values have no upper bound of the
        95th percentile.
    """
    ordered = sorted(values)
    sure = _confidences(len(ordered), percent / 100)
    return tuple(_bound(ordered, sure, probability) for probability in PROBABILITIES)


def _bound(ordered: Sequence[float], sure: Sequence[float], probability: float) -> float | None:
    place = bisect_right(sure, probability)
    if place == 0 or (place == len(sure) and probability > sure[-1]):
        return None
    low, high = ordered[place - 1], ordered[min(place, len(ordered) - 1)]
    if low == high:
        return low
    left, right = _score(sure[place - 1]), _score(sure[place])
    return low + (high - low) * (_score(probability) - left) / (right - left)


def _score(probability: float) -> float:
    return _NORMAL.inv_cdf(min(max(probability, 1e-15), 1 - 1e-15))


def _confidences(n: int, share: float) -> list[float]:
    """Return the probability that fewer than k of n values lie below the percentile, k = 1 to n."""
    total, sure = 0.0, []
    for count in range(n):
        total += math.exp(
            math.lgamma(n + 1)
            - math.lgamma(count + 1)
            - math.lgamma(n - count + 1)
            + count * math.log(share)
            + (n - count) * math.log1p(-share)
        )
        sure.append(min(total, 1.0))
    return sure
