"""`held_out_loss`: how unlikely the expected answers are to a model."""

from collections.abc import Sequence
from typing import TypeAlias

from controller.evaluate.metric import AnsweredExample, Metric
from controller.spec.base import Strict

_Loss: TypeAlias = tuple[float, int]
"""Mean loss of an example's tokens, and their number."""


class HeldOutLoss(Strict):
    """Mean negative log likelihood of the expected answers' tokens in nats.

    Training minimises the same number on other examples.
    """


def _losses(_: HeldOutLoss, examples: Sequence[AnsweredExample]) -> list[_Loss | None]:
    """Return the losses of examples; None where the backend measured none."""
    completions = (example.completion for example in examples)
    return [
        (one.reference_loss, one.reference_tokens)
        if one.reference_loss is not None and one.reference_tokens
        else None
        for one in completions
    ]


def _mean(losses: Sequence[_Loss | None]) -> float | None:
    """Return the mean loss of all tokens, so that a long answer counts more than a short one."""
    measured = [one for one in losses if one is not None]
    tokens = sum(count for _, count in measured)
    return sum(loss * count for loss, count in measured) / tokens if tokens else None


METRIC = Metric(
    name="held_out_loss",
    settings=HeldOutLoss,
    score=_losses,
    combine=_mean,
    higher_is_better=False,
    is_of_texts=True,
)
