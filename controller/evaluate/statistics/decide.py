"""Verdicts about conditions: surely above or below a threshold, or not known. Pure.

A condition such as `accuracy > base.accuracy - 0.01 @ 95%` is a claim about a sample. It holds if
the two-sided interval lies above the threshold, and fails if the interval lies below it. Several
claims of a gate are corrected for their number by Holm's method: the chance that any of them holds
by luck alone stays at the level of one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Final

from controller.evaluate.statistics.intervals import Pairs, difference_above, two_sided_z
from controller.evaluate.statistics.samples import Sample

POWER: Final = 0.8
"""Chance with which the number of `examples_needed` decides, if the observed effect is the true one."""
MOST_NEEDED: Final = 10_000_000
"""Numbers of examples beyond this are no advice."""
_NORMAL: Final = NormalDist()


class Outcome(StrEnum):
    """Outcome of a claim, by the examples."""

    BETTER = "better"
    """Surely on the good side of the threshold, and of no difference."""
    NOT_WORSE = "not worse by the margin"
    """Surely not worse by the margin or more; perhaps no better."""
    WORSE = "worse"
    """Surely on the bad side of the threshold."""
    CANNOT_TELL = "cannot tell"
    """The interval includes the threshold, or there is no interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A condition about a sample, with how sure it must be."""

    sample: Sample
    threshold: float
    """The score must lie above it; the difference, for the sample of a difference."""
    level: float
    """Two-sided confidence: 0.95."""
    below: bool = False
    """True if the score must lie below the threshold: losses, latency."""
    is_difference: bool = False
    """True for the difference of two models. Then a threshold on the bad side of 0 is a margin."""

    @property
    def has_margin(self) -> bool:
        """True if the claim is "not worse by the margin"."""
        return self.is_difference and (self.threshold > 0 if self.below else self.threshold < 0)

    def p_value(self, threshold: float) -> float | None:
        """Return the p-value of "on the good side of a threshold"; None without an interval."""
        sample = self.sample
        return sample.p_below(threshold) if self.below else sample.p_above(threshold)

    def p_opposite(self) -> float | None:
        """Return the p-value of "on the bad side of the threshold"; None without an interval."""
        sample = self.sample
        return sample.p_above(self.threshold) if self.below else sample.p_below(self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome of one claim."""

    outcome: Outcome
    p_value: float | None
    """P-value of the claim after Holm's correction, one-sided; None without an interval."""
    needed: int | None = None
    """About how many examples would do, if the outcome is "cannot tell" and that is known."""

    @property
    def holds(self) -> bool:
        """True if the claim holds."""
        return self.outcome in {Outcome.BETTER, Outcome.NOT_WORSE}


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's method, in the same order."""
    adjusted = [1.0] * len(p_values)
    greatest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        greatest = max(greatest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = greatest
    return adjusted


def decide(claims: Sequence[Claim]) -> list[Decision]:
    """Return a decision for each claim of a gate, corrected for their number.

    P-values of holding are one family, p-values of failing another. "Better", where only "not worse
    by the margin" was claimed, is a finding on the side: it is corrected like the claim itself.
    """
    holding = _holm_or_none([claim.p_value(claim.threshold) for claim in claims])
    failing = _holm_or_none([claim.p_opposite() for claim in claims])
    better = _holm_or_none([claim.p_value(0.0) if claim.has_margin else None for claim in claims])
    return [
        _decision(claim, *p_values, conditions=len(claims))
        for claim, *p_values in zip(claims, holding, failing, better, strict=True)
    ]


def _decision(
    claim: Claim,
    holding: float | None,
    failing: float | None,
    better: float | None,
    *,
    conditions: int,
) -> Decision:
    tail = _tail(claim.level)
    if holding is None or failing is None:
        return Decision(outcome=Outcome.CANNOT_TELL, p_value=None)
    if holding <= tail:
        shown = not claim.has_margin or (better is not None and better <= tail)
        outcome = Outcome.BETTER if shown else Outcome.NOT_WORSE
        return Decision(outcome=outcome, p_value=holding)
    if failing <= tail:
        return Decision(outcome=Outcome.WORSE, p_value=holding)
    needed = examples_needed(claim.sample, claim.threshold, claim.level, conditions=conditions)
    return Decision(outcome=Outcome.CANNOT_TELL, p_value=holding, needed=needed)


def examples_needed(
    sample: Sample, threshold: float, level: float, *, conditions: int = 1
) -> int | None:
    """Return about how many examples would decide, if the observed effect is the true one.

    The distance from the threshold, in standard errors, grows with the root of the number of
    examples. The number gives a chance of 80 % (`POWER`) to decide, one way or the other; with
    groups, it means as many more groups of the same sizes.

    Args:
        sample: What was observed.
        threshold: The threshold of the condition.
        level: Two-sided confidence.
        conditions: Number of conditions that Holm's method corrects for; the strictest is assumed.

    Returns:
        A number rounded up to two digits, more than there are; None if the score sits on the
        threshold, or nothing is known about it.
    """
    above, below = sample.p_above(threshold), sample.p_below(threshold)
    if above is None or below is None:
        return None
    distance = -_NORMAL.inv_cdf(min(max(min(above, below), 1e-300), 0.5))
    strict = two_sided_z(1 - (1 - level) / conditions) + _NORMAL.inv_cdf(POWER)
    if distance <= 0 or sample.n * (strict / distance) ** 2 > MOST_NEEDED:
        return None
    return _two_digits(max(sample.n + 1, math.ceil(sample.n * (strict / distance) ** 2)))


def fewest_examples(
    threshold: float,
    level: float,
    *,
    below: bool = False,
    is_difference: bool = False,
    conditions: int = 1,
) -> int | None:
    """Return the size of the smallest held-out set that could meet a condition on a proportion.

    The best outcome is assumed: all right; for a margin, the same answers from both models; for a
    lead, a candidate that is right wherever its rival is wrong. With fewer examples the verdict is
    "cannot tell", whatever the models answer.

    Args:
        threshold: The threshold of the condition.
        level: Two-sided confidence.
        below: True if the proportion must lie below the threshold.
        is_difference: True for the difference of two models.
        conditions: Number of conditions that Holm's method corrects for. The least p-value of a gate
            must pass the strictest test, so at least one condition needs this number.

    Returns:
        The number of examples; None if no number is enough (`accuracy > 1`).
    """
    tail = _tail(level) / conditions
    if below:
        threshold = -threshold if is_difference else 1 - threshold
    if threshold >= 1:
        return None
    z_square = _NORMAL.inv_cdf(tail) ** 2
    if not is_difference:
        return 1 if threshold <= 0 else max(1, math.ceil(z_square * threshold / (1 - threshold)))
    if threshold < 0:
        margin = -threshold
        return 1 if margin >= 1 else max(1, math.ceil(z_square * (1 - margin) / margin))
    n = 1
    while difference_above(Pairs(both=0, candidate=n, rival=0, neither=0), threshold) > tail:
        n += 1
    return n


def _tail(level: float) -> float:
    """Return the one-sided p-value that a two-sided level allows, without its rounding error."""
    return round((1 - level) / 2, 12)


def _holm_or_none(p_values: Sequence[float | None]) -> list[float | None]:
    """Return corrected p-values; those that are None stay so and count as tests all the same."""
    known = holm([1.0 if one is None else one for one in p_values])
    return [
        None if given is None else corrected
        for given, corrected in zip(p_values, known, strict=True)
    ]


def _two_digits(number: int) -> int:
    """Return a number rounded up to two significant digits."""
    unit = int("1" + "0" * (len(str(number)) - 2))
    return -(-number // unit) * unit
