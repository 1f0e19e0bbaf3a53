"""Intervals and p-values of proportions and of differences of paired proportions. Pure.

A proportion: Wilson's interval and the score test that it inverts (Wilson 1927; Newcombe 1998,
Statistics in Medicine 17:857). It stays inside 0 and 1, and is useful with 20 examples.

A difference of paired proportions: the exact McNemar test at a difference of 0, and the score test
of Tango elsewhere (Tango 1998, Statistics in Medicine 17:891). The interval is the set of
differences that the tests do not reject, so an interval that leaves 0 out always goes with a test
that rejects 0. The exact test is careful: where the true difference is 0, the interval covers it
more often than its level says. Elsewhere it is Tango's interval.

P-values are one-sided. A two-sided interval of 95 % lies above a threshold exactly if the p-value
of "above" is less than 0.025.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

_NORMAL: Final = NormalDist()
_HALVINGS: Final = 45
"""Halvings of the interval from -1 to 1, down to less than 1e-13."""
_NO_VARIANCE: Final = 1e-15
"""The most that the arithmetic makes of a variance of 0."""
_NO_DISTANCE: Final = 1e-12
"""The most that the arithmetic makes of a distance of 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Counts of examples that two models, a candidate and a rival, both answered."""

    both: int
    """Examples that both models answered right."""
    candidate: int
    """Examples that only the candidate answered right."""
    rival: int
    """Examples that only the rival answered right."""
    neither: int
    """Examples that no model answered right."""

    @property
    def n(self) -> int:
        """Number of examples."""
        return self.both + self.candidate + self.rival + self.neither

    @property
    def difference(self) -> float:
        """Observed proportion of the candidate minus that of the rival."""
        return (self.candidate - self.rival) / self.n

    def swapped(self) -> "Pairs":
        """Return the counts with the models exchanged."""
        return Pairs(
            both=self.both, candidate=self.rival, rival=self.candidate, neither=self.neither
        )


def two_sided_z(level: float) -> float:
    """Return the normal quantile of a two-sided level: 1.96 for 0.95.

    Raises:
        ValueError: The level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: {level}, allowed: between 0 and 1")
    return -_NORMAL.inv_cdf((1 - level) / 2)


def upper_tail(z: float) -> float:
    """Return the probability that a standard normal number is larger than z."""
    return math.erfc(z / math.sqrt(2)) / 2


def wilson_interval(right: float, n: float, level: float) -> tuple[float, float]:
    """Return Wilson's two-sided interval of a proportion.

    Args:
        right: Number of examples that are right.
        n: Number of examples, at least 1.
        level: Confidence, 0.95 for instance.
    """
    z = two_sided_z(level)
    share = right / n
    scale = 1 + z * z / n
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Rounding must not leave out what was observed.
    low = 0.0 if right == 0 else min(max(0.0, (middle - half) / scale), share)
    high = 1.0 if right == n else max(min(1.0, (middle + half) / scale), share)
    return low, high


def proportion_z(right: float, n: float, threshold: float) -> float:
    """Return how many standard errors a proportion lies above a threshold (score statistic).

    The standard error is the threshold's own. It is 0 at a threshold of 0 or 1, or outside of them;
    then the result is infinite, or 0 if the proportion equals the threshold.
    """
    return _ratio(right / n - threshold, threshold * (1 - threshold) / n)


def proportion_above(right: float, n: float, threshold: float) -> float:
    """Return the p-value of "the true proportion is greater than the threshold"."""
    if threshold >= 1:
        return 1.0
    if threshold <= 0:
        return 0.0 if right > 0 or threshold < 0 else 1.0
    return upper_tail(proportion_z(right, n, threshold))


def proportion_below(right: float, n: float, threshold: float) -> float:
    """Return the p-value of "the true proportion is less than the threshold"."""
    return proportion_above(n - right, n, 1 - threshold)


def difference_z(pairs: Pairs, threshold: float) -> float:
    """Return Tango's score statistic: standard errors that the difference lies above a threshold.

    It is infinite where the threshold allows no chance: at -1, at 1, outside of them, and at 0
    without a pair that differs, where it is 0.
    """
    if abs(threshold) > 1:
        return -math.copysign(math.inf, threshold)
    n, only, other = pairs.n, pairs.candidate, pairs.rival
    # Share of "only the rival" that fits best among all with this difference (Tango 1998, eq. 7).
    a = 2 * n
    b = -only - other + (2 * n - only + other) * threshold
    c = -other * threshold * (1 - threshold)
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    # Two forms of one root: each loses digits where the other does not.
    share = -2 * c / (b + root) if b > 0 else (root - b) / (2 * a)
    variance = n * (2 * share + threshold * (1 - threshold))
    return _ratio(only - other - n * threshold, variance)


def mcnemar_above(pairs: Pairs) -> float:
    """Return the exact one-sided p-value of "the candidate is better": McNemar's test.

    Pairs that differ are fair coins if no model is better. The p-value is the probability of at
    least as many for the candidate.
    """
    return _coins_at_least(pairs.candidate, pairs.candidate + pairs.rival)


def difference_above(pairs: Pairs, threshold: float) -> float:
    """Return the p-value of "the true difference is greater than the threshold".

    McNemar's exact test at 0, Tango's score test elsewhere. A smaller threshold never has a larger
    p-value: above 0 the exact p-value is the least, below 0 the greatest.
    """
    if threshold >= 1:
        return 1.0
    if threshold == 0:
        return mcnemar_above(pairs)
    score = upper_tail(difference_z(pairs, threshold))
    exact = mcnemar_above(pairs)
    return max(score, exact) if threshold > 0 else min(score, exact)


def difference_below(pairs: Pairs, threshold: float) -> float:
    """Return the p-value of "the true difference is less than the threshold"."""
    return difference_above(pairs.swapped(), -threshold)


def difference_interval(pairs: Pairs, level: float) -> tuple[float, float]:
    """Return the two-sided interval of a difference of paired proportions.

    Args:
        pairs: The four counts, at least one example in all.
        level: Confidence, 0.95 for instance.
    """
    tail = (1 - level) / 2
    low, high = tango_interval(pairs, level)
    low = min(low, 0.0) if mcnemar_above(pairs) > tail else max(low, 0.0)
    high = max(high, 0.0) if mcnemar_above(pairs.swapped()) > tail else min(high, 0.0)
    return low, high


def tango_interval(pairs: Pairs, level: float) -> tuple[float, float]:
    """Return Tango's two-sided score interval of a difference of paired proportions."""
    z = two_sided_z(level)
    seen = pairs.difference
    low = -1.0 if seen == -1 else _crossing(lambda at: difference_z(pairs, at) > z, -1.0, seen)
    high = 1.0 if seen == 1 else _crossing(lambda at: difference_z(pairs, at) > -z, seen, 1.0)
    return low, high


def _crossing(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Return where a condition ends that holds at the low end and not at the high end."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _ratio(distance: float, variance: float) -> float:
    """Return a distance in standard errors."""
    if variance > _NO_VARIANCE:
        return distance / math.sqrt(variance)
    return math.copysign(math.inf, distance) if abs(distance) > _NO_DISTANCE else 0.0


def _coins_at_least(heads: int, coins: int) -> float:
    """Return the probability of at least that many heads of fair coins."""
    if 2 * heads <= coins:
        return 1.0 if heads <= 0 else 1 - _coins_at_least(coins - heads + 1, coins)
    # Terms fall fast from the first on; a sum of logarithms would round, and a power overflow.
    term = math.exp(
        math.lgamma(coins + 1)
        - math.lgamma(heads + 1)
        - math.lgamma(coins - heads + 1)
        - coins * math.log(2)
    )
    total = term
    for count in range(heads + 1, coins + 1):
        term *= (coins - count + 1) / count
        total += term
        if term < total * 1e-17:
            break
    return min(1.0, total)
