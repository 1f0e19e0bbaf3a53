"""What is wrong with a training, by its losses. Pure.

Each finding has the rule that named it and its numbers, so that people can check it. A finding is
advice: it changes no verdict. Rules look at levels, the means of neighbouring points, since the loss
of a single batch says little.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from backends.contract.jobs import CurvePoint
from backends.contract.methods import METHODS
from controller.evaluate.curves.points import held_out_losses, train_losses

OVERFITTING: Final = "overfitting"
DIVERGENCE: Final = "divergence"
PLATEAU: Final = "plateau"
WRONG_TEMPLATE: Final = "wrong template"
WORDS: Final[Mapping[str, str]] = {
    OVERFITTING: "overfits",
    DIVERGENCE: "diverged",
    PLATEAU: "learned nothing",
    WRONG_TEMPLATE: "wrong template?",
}
"""Short words for a table, by the name of a finding."""

RISE: Final = 0.05
"""Rise of the held-out loss above its minimum that counts as overfitting, as a share of it.

The class of stopping criteria GL5 of L. Prechelt, "Early Stopping - But When?" (1998): the
generalisation loss exceeds 5 %.
"""
LEAST_RISE: Final = 0.01
"""The same in nats per token, for losses near zero: 1 % of perplexity."""
EXPLOSION: Final = 1.5
"""Ratio of the last loss to the first that counts as divergence: no training should end above 1."""
NO_LEARNING: Final = 0.98
"""Ratio of the last loss to the first above which nothing was learned."""
VISIBLE: Final = 0.05
"""Largest standard error, as a share of the loss, with which train losses alone can tell that."""
LEARNED_ALREADY: Final = 0.1
"""First loss, in nats per token, below which there is nothing to learn: 90 % right per token."""
OTHER_RENDERING: Final = 1.1
"""Ratio of the held-out loss before training to the base's own that counts as a wrong template.

Both are of the same model and the same examples, so that a right template makes them equal, to
rounding. On a small model that was taught one template, another one made it 1.3.
"""
HIGH_START: Final = 1.5
"""The same ratio for the first train losses: of other examples, and few of them."""
CHANCE: Final = 6.0
"""First loss, in nats per token, that is too high for a base model that knows its text. Counts
where the base model's own loss is not known.

Half of ln(160,000), the loss of guessing among the tokens of a large vocabulary; smaller
vocabularies have lower losses.
"""

_TENTHS: Final = 10
_QUARTERS: Final = 4
"""Parts of a curve whose means are its levels."""
_FEW: Final = 2
"""Fewest points with which a tendency can be named."""
_MANY: Final = 20
"""Held-out losses from which on they are averaged too, and must rise above their own noise."""
_FIRST: Final = 3
"""First train losses of which the lowest counts as the start, since a batch may be odd; fewest
losses of a level."""
_ERRORS: Final = 3.0
"""Standard errors that a difference of levels must exceed to be one."""
_TO_SIGMA: Final = 0.954
"""Median distance of two neighbours over their standard deviation, for a normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with a training."""

    name: str
    """`overfitting`, `divergence`, `plateau` or `wrong template`."""
    text: str
    """The rule that named it, with its numbers, and what to do: one line."""


def findings_of(
    points: Sequence[CurvePoint],
    *,
    base_loss: float | None = None,
    method: str = "",
    keeps_best: bool = False,
) -> tuple[Finding, ...]:
    """Return everything that is wrong with a training, worst first.

    Args:
        points: The curve, in order of the steps.
        base_loss: The base model's held-out loss, as an evaluation measured it with the base's own
            template; None if it is not known.
        method: Training method; the first loss of `dpo` or `kto` says nothing about the template.
        keeps_best: True if the weights of the lowest held-out loss are kept, so that it may rise.
    """
    known = METHODS.get(method)
    is_relative = known is not None and known.is_of_preferences
    high = None if is_relative else _high_start(points, base_loss)
    exploded = _divergence(points, is_relative=is_relative)
    if exploded is not None:
        return tuple(filter(None, [exploded, high]))
    rising = None if keeps_best else _overfitting(points)
    return tuple(filter(None, [high, rising, _plateau(points)]))


def _divergence(points: Sequence[CurvePoint], *, is_relative: bool) -> Finding | None:
    for point in points:
        for what, loss in (("train", point.train_loss), ("held-out", point.held_out_loss)):
            if loss is not None and not math.isfinite(loss):
                text = f"the {what} loss is {loss} at step {point.step}: {_LOWER}"
                return Finding(name=DIVERGENCE, text=text)
    train, held_out = train_losses(points), held_out_losses(points)
    if len(train) >= _FEW:
        start, end = _ends(train, _TENTHS)
        first = train[0][1]
        # A level above chance is never the noise of a batch, and next to its base every example has
        # the same loss at first.
        limit = min(start, first if is_relative else max(first, CHANCE / EXPLOSION))
        if end > EXPLOSION * limit and end - limit > LEAST_RISE:
            text = (
                f"the train loss rose from {first:.3g} to {end:.3g}, {_over(EXPLOSION)}: {_LOWER}"
            )
            return Finding(name=DIVERGENCE, text=text)
    if len(held_out) >= _FEW and not _is_learned(train):
        first, last = held_out[0][1], held_out[-1][1]
        if last > EXPLOSION * first and last - first > LEAST_RISE:
            text = (
                f"the held-out loss rose from {first:.3g} to {last:.3g}, {_over(EXPLOSION)}, "
                f"and the train loss did not fall: {_LOWER}"
            )
            return Finding(name=DIVERGENCE, text=text)
    return None


def _overfitting(points: Sequence[CurvePoint]) -> Finding | None:
    held_out = held_out_losses(points)
    if len(held_out) < _FEW:
        return None
    noise = 0.0
    if len(held_out) >= _MANY:
        noise = _ERRORS * _error(held_out, _TENTHS)
        held_out = _averaged(held_out)
    step, lowest = min(held_out, key=lambda pair: pair[1])
    last = held_out[-1][1]
    after = [pair for pair in train_losses(points) if pair[0] >= step]
    if last - lowest <= max(RISE * lowest, LEAST_RISE, noise) or not _falls(after):
        return None
    text = (
        f"the held-out loss rose from its lowest, {lowest:.3g} at step {step}, to {last:.3g}, by "
        f"more than {100 * RISE:g} %, while the train loss fell: train for fewer epochs, or add "
        "examples"
    )
    return Finding(name=OVERFITTING, text=text)


def _plateau(points: Sequence[CurvePoint]) -> Finding | None:
    train, held_out = train_losses(points), held_out_losses(points)
    if len(train) < _TENTHS:
        return None
    start, end = _ends(train, _QUARTERS)
    if start < LEARNED_ALREADY:
        return None
    error = _error(train, _QUARTERS)
    if len(held_out) >= _FEW:
        has_fallen = min(loss for _, loss in held_out) < NO_LEARNING * held_out[0][1]
        if has_fallen or start - end > max((1 - NO_LEARNING) * start, _ERRORS * error):
            return None
    elif _is_learned(train) or error > VISIBLE * start:
        return None
    text = (
        f"the losses did not fall below {100 * NO_LEARNING:g} % of their start (train loss "
        f"{start:.3g} at first, {end:.3g} in the end): raise the learning rate, or train longer"
    )
    return Finding(name=PLATEAU, text=text)


def _high_start(points: Sequence[CurvePoint], base_loss: float | None) -> Finding | None:
    untrained = next((loss for step, loss in held_out_losses(points) if step == 0), None)
    first = min((loss for _, loss in train_losses(points)[:_FIRST]), default=untrained)
    own = base_loss if base_loss is not None and math.isfinite(base_loss) else None
    for start, limit, ratio in (
        (untrained, own, OTHER_RENDERING),
        (first, own, HIGH_START),
        (first, untrained, HIGH_START),
        # A small base model may know its text no better, which its own loss tells.
        (first, CHANCE if own is None and untrained is None else None, 1.0),
    ):
        if start is None or limit is None or start <= ratio * limit or start - limit < LEAST_RISE:
            continue
        if limit == CHANCE:
            rule = f"above {CHANCE:g}, little better than guessing among all tokens"
        else:
            rule = f"{_over(ratio)} the {limit:.3g} of the base model on held-out examples"
        text = (
            f"training began at a loss of {start:.3g}, {rule}: look at `ftctl data preview NAME` "
            "for a chat template that is not the base model's, or garbled rows"
        )
        return Finding(name=WRONG_TEMPLATE, text=text)
    return None


_LOWER: Final = "lower the learning rate, or look for odd examples"


def _over(ratio: float) -> str:
    return f"more than {ratio:g} times"


def _ends(pairs: Sequence[tuple[int, float]], parts: int) -> tuple[float, float]:
    """Return the levels of the first and of the last part, of three points or more if possible."""
    size = _size(pairs, parts)
    losses = [loss for _, loss in pairs]
    return _level(losses[:size]), _level(losses[-size:])


def _size(pairs: Sequence[tuple[int, float]], parts: int) -> int:
    return max(1, min(_FIRST, len(pairs) // 2), len(pairs) // parts)


def _error(pairs: Sequence[tuple[int, float]], parts: int) -> float:
    """Return the standard error of the difference of two levels."""
    return _noise([loss for _, loss in pairs]) * math.sqrt(2 / _size(pairs, parts))


def _is_learned(pairs: Sequence[tuple[int, float]]) -> bool:
    """Return whether train losses end lower than they began, by more than nothing."""
    if len(pairs) < _FEW:
        return False
    start, end = _ends(pairs, _QUARTERS)
    return end <= NO_LEARNING * start


def _falls(pairs: Sequence[tuple[int, float]]) -> bool:
    """Return whether the second half of some losses is lower than the first half."""
    half = len(pairs) // 2
    losses = [loss for _, loss in pairs]
    return half > 0 and _level(losses[-half:]) < _level(losses[:half])


def _averaged(pairs: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return ten groups of neighbours as their middle step and mean."""
    ends = [len(pairs) * number // _TENTHS for number in range(_TENTHS + 1)]
    groups = [pairs[start:end] for start, end in pairwise(ends)]
    return [(group[len(group) // 2][0], _level([loss for _, loss in group])) for group in groups]


def _noise(losses: Sequence[float]) -> float:
    """Return the standard deviation of single losses, whatever their tendency."""
    distances = sorted(abs(after - before) for before, after in pairwise(losses))
    return distances[len(distances) // 2] / _TO_SIGMA


def _level(losses: Sequence[float]) -> float:
    # Divided first, since a sum may overflow.
    return sum(loss / len(losses) for loss in losses)
