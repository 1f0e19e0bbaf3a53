"""`preference_accuracy` and `preference_margin`: whether a model tells good answers from bad ones.

Both follow from log-probabilities of the answers in the data, not from answers that a model gives.
"""

from collections.abc import Sequence
from typing import Final

from backends.contract.completions import Completion
from controller.evaluate.metric import RIGHT, WRONG, AnsweredExample, Metric, MetricSettings, Tally


class PreferenceAccuracy(MetricSettings):
    """Share of held-out pairs whose preferred answer gained more likelihood over the base model.

    For answers that are marked (`method: kto`), share of those that became likelier than they are
    to the base model if good, and less likely if bad. The base model gains nothing over itself: of
    pairs, it has the share whose preferred answer is the likelier one, and of marks, no accuracy.
    """


class PreferenceMargin(MetricSettings):
    """Mean log-probability of good answers minus that of bad ones, in nats, next to the base model.

    It is 0 for the base model, and `beta` times it is the reward margin of other programs.
    """


def _logp(loss: float | None, tokens: int) -> float | None:
    return None if loss is None or not tokens else -loss * tokens


def _both(completion: Completion) -> tuple[float | None, float | None]:
    """Return the log-probabilities of the good and of the bad answer."""
    good = _logp(completion.reference_loss, completion.reference_tokens)
    return good, _logp(completion.rejected_loss, completion.rejected_tokens)


def _ratios(example: AnsweredExample) -> tuple[float | None, float | None]:
    """Return how much likelier the good and the bad answer are than to the base model."""
    if example.base is None:
        return None, None
    mine, base = _both(example.completion), _both(example.base)
    good, bad = (
        None if one is None or other is None else one - other
        for one, other in zip(mine, base, strict=True)
    )
    return good, bad


def _accuracy(_: PreferenceAccuracy, examples: Sequence[AnsweredExample]) -> list[Tally | None]:
    return [_is_right(example) for example in examples]


def _is_right(example: AnsweredExample) -> Tally | None:
    is_base = example.base is example.completion
    good, bad = _both(example.completion) if is_base else _ratios(example)
    if good is not None and bad is not None:
        return RIGHT if good > bad else WRONG
    if is_base:
        return None
    if good is not None:
        return RIGHT if good > 0 else WRONG
    return None if bad is None else RIGHT if bad < 0 else WRONG


def _margin(_: PreferenceMargin, examples: Sequence[AnsweredExample]) -> list[Tally | None]:
    tallies: list[Tally | None] = []
    for good, bad in map(_ratios, examples):
        both = (good or 0.0, float(good is not None), bad or 0.0, float(bad is not None))
        tallies.append(both if both[1] or both[3] else None)
    return tallies


def _difference(sums: Sequence[float]) -> float | None:
    good, goods, bad, bads = sums
    return good / goods - bad / bads if goods and bads else None


ACCURACY: Final = Metric(
    name="preference_accuracy",
    settings=PreferenceAccuracy,
    tally=_accuracy,
    higher_is_better=True,
    is_proportion=True,
    is_of_preferences=True,
    needs_losses=True,
)
MARGIN: Final = Metric(
    name="preference_margin",
    settings=PreferenceMargin,
    tally=_margin,
    combine=_difference,
    higher_is_better=True,
    is_of_preferences=True,
    needs_losses=True,
)
METRICS: Final = (ACCURACY, MARGIN)
