"""Make samples of tallies. Pure; needs numpy, so only an evaluation loads it.

Proportions without groups are counts. Everything else gets bounds: percentiles of one model without
groups from the order of their values, the rest from resampling.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from controller.evaluate.metric import RIGHT, WRONG, mean
from controller.evaluate.statistics.bootstrap import (
    ROUNDS,
    Combine,
    NoIntervalError,
    combined_bounds,
    mean_bounds,
    percentile_bounds,
)
from controller.evaluate.statistics.draws import Bounds, Matrix
from controller.evaluate.statistics.percentiles import order_bounds
from controller.evaluate.statistics.samples import Sample

FEWEST_UNITS: Final = 5
"""Fewest examples or groups that bounds are made of."""
FEWEST_BEYOND: Final = 5
"""Fewest examples beyond a percentile that is resampled."""

Tallies: TypeAlias = Sequence[Sequence[float] | None]


class Scoring(Protocol):
    """How tallies become a score. A `Metric` says so."""

    @property
    def combine(self) -> Combine:
        """Score of the sums of tallies, None if they have none."""

    @property
    def percentile(self) -> float | None:
        """The score is this percentile of the tallies' first numbers, instead of `combine`."""

    @property
    def is_proportion(self) -> bool:
        """True if tallies are `(0 or 1, 1)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Units:
    """Units of resampling: examples, or groups of examples."""

    n: int
    """Number of examples."""
    places: npt.NDArray[np.intp]
    """Number of each example's unit, from 0."""
    groups: int | None
    """Number of groups; None if each example is a unit."""

    @property
    def count(self) -> int:
        return self.n if self.groups is None else self.groups

    def sums(self, tallies: Matrix) -> Matrix:
        """Return the sum of the tallies of each unit."""
        if self.groups is None:
            return tallies
        sums = np.zeros((self.groups, tallies.shape[1]))
        np.add.at(sums, self.places, tallies)
        return sums


def sample_of(
    tallies: Tallies,
    scoring: Scoring,
    *,
    seed: str,
    groups: Sequence[Hashable] | None = None,
    rounds: int = ROUNDS,
) -> Sample:
    """Return the sample of one model's score.

    Args:
        tallies: One tally for each example; None for an example that does not count.
        scoring: The metric.
        seed: Text that decides the draws: the evaluation's fingerprint. Samples of one seed share
            their draws.
        groups: Group of each example (document, customer); None if examples are independent.
        rounds: Number of draws.

    Returns:
        The sample; one with a `reason` if the examples give no interval.

    Raises:
        ValueError: Arguments differ in length, or a tally of a proportion is not `(0 or 1, 1)`.
    """
    return _sample([tallies], scoring, seed, groups, rounds)


def difference_of(
    candidate: Tallies,
    rival: Tallies,
    scoring: Scoring,
    *,
    seed: str,
    groups: Sequence[Hashable] | None = None,
    rounds: int = ROUNDS,
) -> Sample:
    """Return the sample of a difference: the candidate's score minus the rival's.

    Only examples that count for both models are compared.

    Args:
        candidate: One tally for each example; None for an example that does not count.
        rival: Tallies of the same examples, in the same order.
        scoring: The metric.
        seed: See `sample_of`.
        groups: See `sample_of`.
        rounds: See `sample_of`.

    Returns:
        The sample; one with a `reason` if the examples give no interval.

    Raises:
        ValueError: Arguments differ in length, or a tally of a proportion is not `(0 or 1, 1)`.
    """
    return _sample([candidate, rival], scoring, seed, groups, rounds)


def _sample(
    models: Sequence[Tallies],
    scoring: Scoring,
    seed: str,
    groups: Sequence[Hashable] | None,
    rounds: int,
) -> Sample:
    lengths = {len(one) for one in (*models, *([] if groups is None else [groups]))}
    if len(lengths) != 1:
        raise ValueError(f"tallies and groups of {sorted(lengths)} examples, allowed: one number")
    counted = [at for at, both in enumerate(zip(*models, strict=True)) if None not in both]
    if not counted:
        return Sample(n=0, reason="no example counts")
    parts = [np.array([model[at] for at in counted], dtype=np.float64) for model in models]
    units = _units(len(counted), None if groups is None else [groups[at] for at in counted])
    if not all(np.isfinite(part).all() for part in parts):
        return Sample(n=units.n, groups=units.groups, reason="a value is not a finite number")
    if scoring.is_proportion and (sample := _counts(parts, units)):
        return sample
    try:
        bounds = _bounds(parts, scoring, units, seed, rounds)
    except NoIntervalError as error:
        reason = str(error) or _all_agree(units)
        return Sample(n=units.n, groups=units.groups, reason=reason)
    return Sample(n=units.n, groups=units.groups, quantiles=bounds)


def _units(n: int, groups: Sequence[Hashable] | None) -> _Units:
    numbers: dict[Hashable, int] = {}
    places = (
        range(n) if groups is None else [numbers.setdefault(one, len(numbers)) for one in groups]
    )
    grouped = groups is not None and len(numbers) < n
    return _Units(
        n=n, places=np.array(places, dtype=np.intp), groups=len(numbers) if grouped else None
    )


def _counts(parts: Sequence[Matrix], units: _Units) -> Sample | None:
    """Return the sample of a proportion, or of a difference of two; None if it needs bounds.

    In groups, only examples that all agree can be counted. Each group then counts as one example,
    because nobody knows how much the examples of a group tell beyond the first.
    """
    if not all(((part == RIGHT) | (part == WRONG)).all(axis=1).all() for part in parts):
        raise ValueError("a tally of a proportion is not (0 or 1, 1)")
    right = [part[:, 0] == 1 for part in parts]
    if len(right) == 1:
        count = int(right[0].sum())
        agree = count in {0, units.n}
        counts: dict[str, Any] = {"right": count}
    else:
        candidate, rival = right
        pairs = (candidate & rival, candidate & ~rival, rival & ~candidate, ~candidate & ~rival)
        agree = bool((candidate == rival).all())
        counts = {"pairs": tuple(int(one.sum()) for one in pairs)}
    if units.groups is not None and not (agree and units.groups > 1):
        return None
    return Sample(n=units.n, groups=units.groups, **counts)


def _bounds(
    parts: Sequence[Matrix], scoring: Scoring, units: _Units, seed: str, rounds: int
) -> Bounds:
    if units.count < FEWEST_UNITS:
        name = "example" if units.groups is None else "group"
        there = f"1 {name} is" if units.count == 1 else f"{units.count} {name}s are"
        raise NoIntervalError(f"{there} too few for an interval; {FEWEST_UNITS} would do")
    if scoring.percentile is not None:
        return _percentile_bounds(parts, scoring.percentile, units, seed, rounds)
    sums = [units.sums(part) for part in parts]
    if scoring.combine is not mean:
        return combined_bounds(sums, scoring.combine, seed, rounds=rounds)
    if any((part[:, 1] <= 0).all() for part in sums):
        raise NoIntervalError("the score is not a finite number")
    bounds = mean_bounds(sums, seed, rounds=rounds)
    if not scoring.is_proportion:
        return bounds
    # What no proportion can be, no bound needs to say.
    low, high = (0.0 if len(parts) == 1 else -1.0), 1.0
    return tuple(
        (low if at < len(bounds) / 2 else high) if one is None else min(high, max(low, one))
        for at, one in enumerate(bounds)
    )


def _percentile_bounds(
    parts: Sequence[Matrix], percent: float, units: _Units, seed: str, rounds: int
) -> Bounds:
    columns = [part[:, 0] for part in parts]
    if all(column.min() == column.max() for column in columns):
        raise NoIntervalError
    if len(columns) == 1 and units.groups is None:
        return order_bounds(columns[0].tolist(), percent)
    beyond = min(percent, 100 - percent) / 100
    if units.count * beyond < FEWEST_BEYOND:
        name = "examples" if units.groups is None else "groups"
        needed = math.ceil(FEWEST_BEYOND / beyond)
        raise NoIntervalError(
            f"the percentile of {units.count} {name} depends on the outermost few; {needed} would do"
        )
    return percentile_bounds(columns, units.places, percent, seed, rounds=rounds)


def _all_agree(units: _Units) -> str:
    if units.groups is None:
        return f"all {units.n} examples have the same value, so chance cannot be estimated"
    return f"all {units.groups} groups have the same value, so chance cannot be estimated"
