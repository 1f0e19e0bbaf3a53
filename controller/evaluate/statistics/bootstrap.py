"""Confidence distributions from resampled examples. Pure; the only module here that needs numpy.

A unit is an example, or a group of examples that share a source. A round draws as many units as
there are, with replacement, the same ones for both models. The draws follow from a seed.

Methods, found by simulation (`tests/benchmarks/interval_coverage.py` prints the table again):

- **Means** (and sums over sums): the bootstrap-t, whose rounds estimate their own standard error,
  and Student's t, whichever reaches farther. The percentile and the BCa bootstrap cover 88-93 % with
  20 skewed values or 20 groups of unequal size, Student's t 82-94 %; the bootstrap-t stays near
  95 % there, and falls to 84-92 % where most differences are 0, where Student's t holds.
- **Other scores** (F1, BLEU): BCa, with Student's t in place of normal scores and the factor
  sqrt(m / (m - 1)) for m units (Hesterberg 2015, The American Statistician 69:371).
- **Percentiles**: see `percentiles.py`.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from controller.evaluate.statistics.confidence import NORMAL, PROBABILITIES
from controller.evaluate.statistics.student import student_quantile

ROUNDS: Final = 10_000
CHUNK_NUMBERS: Final = 400_000
"""Most numbers of one matrix of weights: 3 MB, which a processor's cache holds."""
MOST_UNSCORED: Final = 0.01
"""Largest share of rounds that may have no score."""
_DIGITS: Final = 7
"""Significant digits that do not depend on the processor that added the numbers."""

Matrix: TypeAlias = npt.NDArray[np.float64]
Combine: TypeAlias = Callable[[Sequence[float]], float | None]
Bounds: TypeAlias = tuple[float | None, ...]


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
    if len(parts) == 2 and np.array_equal(parts[0][:, 1], parts[1][:, 1]):
        parts = [np.column_stack([parts[0][:, 0] - parts[1][:, 0], parts[0][:, 1]])]
    units = len(parts[0])
    signs = (1.0, -1.0)[: len(parts)]
    means = [part[:, 0].sum() / part[:, 1].sum() for part in parts]
    # Columns of residuals and weights: x; and all products of two of them: x'x of a round.
    x = np.column_stack([
        column
        for part, mean in zip(parts, means, strict=True)
        for column in (part[:, 0] - mean * part[:, 1], part[:, 1])
    ])
    width = x.shape[1]
    products = (x[:, :, None] * x[:, None, :]).reshape(units, width * width)
    error = float(_standard_errors(x.sum(0)[None], products.sum(0)[None], signs, units)[1][0])
    scale = max(float(np.abs(part[:, 0]).max() / part[:, 1].mean()) for part in parts)
    if error <= scale * 1e-12:
        raise NoIntervalError
    distances, errors = [], []
    for weights in _weights(units, rounds, seed):
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
    return _rounded(_mean_bound(p, middle, error, studentised, units) for p in PROBABILITIES)


def _mean_bound(
    probability: float, middle: float, error: float, studentised: Matrix, units: int
) -> float:
    """Return the farther one of the bounds by the bootstrap-t and by Student's t."""
    if probability == 0.5:
        return middle
    drawn = -float(studentised[_rank(1 - probability, len(studentised))])
    student = student_quantile(probability, units - 1)
    farther = min if probability < 0.5 else max
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
        for weights in _weights(len(parts[0]), rounds, seed)
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
        without: Scores without one unit each (the jackknife).
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
        bounds.append(float(scores[_rank(NORMAL.cdf(corrected), len(scores))]))
    return _rounded(bounds)


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
    for weights in _weights(units, rounds, seed, most=max(units, len(places))):
        percentiles = [
            _percentiles(part[order], weights[:, places[order]], percent)
            for part, order in zip(parts, orders, strict=True)
        ]
        drawn.append(percentiles[0] if len(parts) == 1 else percentiles[0] - percentiles[1])
    scores = np.concatenate(drawn)
    scores.sort()
    if scores[-1] == scores[0]:
        raise NoIntervalError
    return _rounded(
        float(scores[_rank(NORMAL.cdf(_expanded(probability, units)), rounds)])
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


def _weights(units: int, rounds: int, seed: str, *, most: int = 0) -> Iterator[Matrix]:
    """Yield how often each round drew each unit, rounds x units, a chunk of rounds at a time."""
    digest = hashlib.sha256(seed.encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16])))
    chunk = max(1, min(rounds, CHUNK_NUMBERS // max(units, most)))
    starts = np.arange(chunk, dtype=np.int64)[:, None] * units
    for start in range(0, rounds, chunk):
        size = min(chunk, rounds - start)
        drawn = generator.integers(units, size=(size, units))
        drawn += starts[:size]
        counted = np.bincount(drawn.ravel(), minlength=size * units)
        yield counted.reshape(size, units).astype(np.float64)


def _rank(probability: float, count: int) -> int:
    """Return the place of a quantile in a sorted list."""
    return min(count - 1, max(0, math.ceil(probability * (count + 1)) - 1))


def _rounded(bounds: Iterable[float]) -> Bounds:
    """Return bounds with digits that every processor gives; None for those that are infinite."""
    return tuple(
        float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None for value in bounds
    )
