"""Confidence distributions from resampled examples. Pure; the only module here that needs numpy.

A unit is an example, or a group of examples that share a source. A round draws as many units as
there are, with replacement, the same ones for both models. The draws follow from a seed.

Methods, and the share of 95 % intervals that covered the truth (1,000 simulated sets a case; print
the table again with `tests/benchmarks/interval_coverage.py`):

- **Means**, in groups too: the bootstrap-t, whose rounds estimate their own standard error, or
  Student's t, whichever reaches farther: 93-97 % for 20 or more examples and for 10 or more groups.
  Alone, percentile and BCa bootstrap covered 85-94 % of 10 to 20 groups of unequal sizes, Student's
  t 81-94 %; the bootstrap-t held there, and fell to 84-92 % where most differences are 0, where
  Student's t holds. Exceptions: 91-93 % for 20 to 50 lognormal values, for 20 pairs of which four
  differ, and for 10 groups, skewed and very unequal in size. More than 97 % for rare errors in few
  groups.
- **Other scores** (F1, BLEU): BCa, with Student's t in place of normal scores and the factor
  sqrt(m / (m - 1)) for m units (Hesterberg 2015, The American Statistician 69:371): 92-97 %.
- **Percentiles** of groups, and their differences: the percentile bootstrap with the same factor:
  95-98 % from 50 examples on. For one model see `percentiles.py`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from controller.evaluate.statistics.confidence import NORMAL, PROBABILITIES
from controller.evaluate.statistics.draws import Bounds, Matrix, draws, rank, rounded
from controller.evaluate.statistics.student import student_quantile

ROUNDS: Final = 10_000
MOST_UNSCORED: Final = 0.01
"""Largest share of rounds that may have no score."""
_MIDDLE: Final = 0.5

Combine: TypeAlias = Callable[[Sequence[float]], float | None]


class NoIntervalError(Exception):
    """The examples give no interval; the message is the reason."""


def mean_bounds(parts: Sequence[Matrix], seed: str, *, rounds: int = ROUNDS) -> Bounds:
    """Return the bounds of a mean, or of a difference of two means.

    Args:
        parts: One matrix of units x 2 for a mean, two for a difference: each unit's sum, and the
            number of values or the weight in it.
        seed: Text that decides the draws.
        rounds: Number of draws.

    Raises:
        NoIntervalError: All units agree.
    """
    if len(parts) > 1 and np.array_equal(parts[0][:, 1], parts[-1][:, 1]):
        # The same weights: the difference of the means is a mean of differences.
        parts = [np.column_stack([parts[0][:, 0] - parts[-1][:, 0], parts[0][:, 1]])]
    units = len(parts[0])
    signs = (1.0, -1.0)[: len(parts)]
    means = [part[:, 0].sum() / part[:, 1].sum() for part in parts]
    # Columns of residuals and weights: x; and all products of two of them: x'x of a round.
    x = np.column_stack(
        [
            column
            for part, mean in zip(parts, means, strict=True)
            for column in (part[:, 0] - mean * part[:, 1], part[:, 1])
        ]
    )
    width = x.shape[1]
    products = (x[:, :, None] * x[:, None, :]).reshape(units, width * width)
    error = float(_standard_errors(x.sum(0)[None], products.sum(0)[None], signs, units)[1][0])
    scale = max(float(np.abs(part[:, 0]).max() / part[:, 1].mean()) for part in parts)
    if error <= scale * 1e-12:
        raise NoIntervalError
    distances, errors = [], []
    for weights in draws(units, rounds, seed):
        both = weights @ np.hstack([x, products])
        distance, spread = _standard_errors(both[:, :width], both[:, width:], signs, units)
        distances.append(distance)
        errors.append(spread)
    moved, spread = np.concatenate(distances), np.concatenate(errors)
    with np.errstate(divide="ignore", invalid="ignore"):
        studentised = np.where(spread > error * 1e-6, moved / spread, np.sign(moved) * np.inf)
    studentised[np.isnan(studentised)] = 0.0
    studentised.sort()
    middle = float(sum(sign * mean for sign, mean in zip(signs, means, strict=True)))
    return rounded(_mean_bound(p, middle, error, studentised, units) for p in PROBABILITIES)


def _mean_bound(
    probability: float, middle: float, error: float, studentised: Matrix, units: int
) -> float:
    """Return the farther one of the bounds by the bootstrap-t and by Student's t."""
    if probability == _MIDDLE:
        return middle
    drawn = -float(studentised[rank(1 - probability, len(studentised))])
    student = student_quantile(probability, units - 1)
    farther = min if probability < _MIDDLE else max
    return middle + farther(drawn, student) * error


def _standard_errors(
    sums: Matrix, products: Matrix, signs: Sequence[float], units: int
) -> tuple[Matrix, Matrix]:
    """Return each round's distance from the estimate, and the standard error that it estimates."""
    distance = np.zeros(len(sums))
    # A unit's influence on the result is linear in its residual and its weight.
    influence = np.zeros_like(sums)
    for number, sign in enumerate(signs):
        residuals, weights = sums[:, 2 * number], sums[:, 2 * number + 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = residuals / weights
            influence[:, 2 * number] = sign / weights
            influence[:, 2 * number + 1] = -sign * moved / weights
        distance += sign * moved
    width = sums.shape[1]
    square = products.reshape(-1, width, width)
    variance = np.einsum("ri,rij,rj->r", influence, square, influence) * units / (units - 1)
    return distance, np.sqrt(np.maximum(variance, 0.0))


def combined_bounds(
    parts: Sequence[Matrix], combine: Combine, seed: str, *, rounds: int = ROUNDS
) -> Bounds:
    """Return the bounds of a score of sums, or of a difference of two.

    Args:
        parts: One matrix of units x numbers for a score, two for a difference: each unit's sums.
        combine: Score of sums, None if they have no score.
        seed: Text that decides the draws.
        rounds: Number of draws.

    Raises:
        NoIntervalError: All units agree, or too many rounds have no score.
    """
    totals = [part.sum(0) for part in parts]
    estimate = _score([total[None] for total in totals], combine)[0]
    if not math.isfinite(estimate):
        raise NoIntervalError("the score is not a finite number")
    drawn = [
        _score([weights @ part for part in parts], combine)
        for weights in draws(len(parts[0]), rounds, seed)
    ]
    scores = np.concatenate(drawn)
    scores = scores[np.isfinite(scores)]
    if len(scores) < rounds * (1 - MOST_UNSCORED):
        share = 1 - len(scores) / rounds
        raise NoIntervalError(f"{share:.0%} of the resampled sets have no score")
    without = _score([total - part for total, part in zip(totals, parts, strict=True)], combine)
    scores.sort()
    return _bca(scores, float(estimate), without[np.isfinite(without)], len(parts[0]))


def _score(sums: Sequence[Matrix], combine: Combine) -> Matrix:
    """Return a score for each row of sums, NaN for none: the first part's minus the second's."""
    columns = [
        np.array(
            [math.nan if (score := combine(row)) is None else score for row in part.tolist()],
            dtype=np.float64,
        )
        for part in sums
    ]
    return columns[0] if len(columns) == 1 else columns[0] - columns[1]


def _bca(scores: Matrix, estimate: float, without: Matrix, units: int) -> Bounds:
    """Return the bounds of sorted scores of rounds, corrected for bias, skew and few units.

    Args:
        scores: Sorted scores of the rounds.
        estimate: Score of all units.
        without: Scores without one unit each.
        units: Number of units.
    """
    distance = without.mean() - without if len(without) else without
    spread = float((distance**2).sum())
    if scores[-1] - scores[0] <= 1e-12 * max(1.0, abs(estimate)) or spread == 0.0:
        raise NoIntervalError
    acceleration = float((distance**3).sum()) / (6 * spread**1.5)
    tolerance = 1e-9 * max(1.0, abs(estimate))
    under = np.searchsorted(scores, estimate - tolerance, side="left")
    through = np.searchsorted(scores, estimate + tolerance, side="right")
    share = float(under + through) / 2 / len(scores)
    bias = NORMAL.inv_cdf(min(max(share, 1 / len(scores)), 1 - 1 / len(scores)))
    bounds = []
    for probability in PROBABILITIES:
        score = bias + _expanded(probability, units)
        # Beyond the pole of the correction, everything lies farther out.
        shrunk = 1 - acceleration * score
        corrected = bias + score / shrunk if shrunk > 0 else math.copysign(math.inf, score)
        bounds.append(float(scores[rank(NORMAL.cdf(corrected), len(scores))]))
    return rounded(bounds)


def percentile_bounds(
    parts: Sequence[Matrix],
    places: npt.NDArray[np.intp],
    percent: float,
    seed: str,
    *,
    rounds: int = ROUNDS,
) -> Bounds:
    """Return the bounds of a percentile of values, or of a difference of two percentiles.

    Args:
        parts: One column of values for a percentile, two for a difference: an example a row.
        places: Number of each example's unit, from 0.
        percent: The percentile, 0 to 100.
        seed: Text that decides the draws.
        rounds: Number of draws.

    Raises:
        NoIntervalError: All rounds agree.
    """
    units = int(places.max()) + 1
    orders = [np.argsort(part, kind="stable") for part in parts]
    drawn = []
    for weights in draws(units, rounds, seed, most=max(units, len(places))):
        percentiles = [
            _percentiles(part[order], weights[:, places[order]], percent)
            for part, order in zip(parts, orders, strict=True)
        ]
        drawn.append(percentiles[0] if len(parts) == 1 else percentiles[0] - percentiles[1])
    scores = np.concatenate(drawn)
    scores.sort()
    if scores[-1] - scores[0] <= 1e-12 * max(float(np.abs(part).max()) for part in parts):
        raise NoIntervalError
    return rounded(
        float(scores[rank(NORMAL.cdf(_expanded(probability, units)), rounds)])
        for probability in PROBABILITIES
    )


def _percentiles(ordered: Matrix, counts: Matrix, percent: float) -> Matrix:
    """Return each round's percentile, interpolated linearly between neighbours.

    Args:
        ordered: Sorted values.
        counts: How often each round drew each value: rounds x values.
        percent: The percentile, 0 to 100.
    """
    through = counts.cumsum(axis=1)
    place = (through[:, -1] - 1) * percent / 100
    below = np.floor(place)
    above = np.minimum(below + 1, through[:, -1] - 1)
    low = ordered[(through <= below[:, None]).sum(axis=1)]
    high = ordered[(through <= above[:, None]).sum(axis=1)]
    drawn: Matrix = low + (high - low) * (place - below)
    return drawn


def _expanded(probability: float, units: int) -> float:
    """Return the normal score that stands for a probability where units are few."""
    return student_quantile(probability, units - 1) * math.sqrt(units / (units - 1))
