"""Quantiles of Student's t. Pure."""

import math
from functools import lru_cache
from statistics import NormalDist

_NORMAL = NormalDist()
_SERIES = 100
"""Degrees of freedom from which an expansion is exact to ten digits, and faster."""
_HALVINGS = 80
_MIDDLE = 0.5


@lru_cache(maxsize=1024)
def student_quantile(probability: float, freedom: int) -> float:
    """Return a quantile of Student's t: 2.262 for a probability of 0.975 and 9 degrees of freedom.

    Args:
        probability: Between 0 and 1.
        freedom: Degrees of freedom, at least 1.
    """
    if probability < _MIDDLE:
        return -student_quantile(1 - probability, freedom)
    z = _NORMAL.inv_cdf(probability)
    if freedom > _SERIES:
        return _expansion(z, freedom)
    low, high = 0.0, 1.0
    while _probability(high, freedom) < probability:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _probability(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return high


def _expansion(z: float, freedom: int) -> float:
    """Return a quantile by Fisher's expansion (Abramowitz and Stegun 26.7.5)."""
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom) ** power for power, term in enumerate(terms, start=1))


def _probability(t: float, freedom: int) -> float:
    """Return the probability of a value below t (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2
    term = sine * math.cos(angle) if odd else sine
    total = term if freedom > 1 else 0.0
    for step in range(2 + odd, freedom - 1, 2):
        term *= square * (step - 1) / step
        total += term
    inside = (angle + total) * 2 / math.pi if odd else total
    return (1 + inside) / 2
