"""`perplexity`: `held_out_loss` on another scale."""

import math
from collections.abc import Sequence

from controller.evaluate.metric import Metric, MetricSettings, mean
from controller.evaluate.metrics.held_out_loss import losses


class Perplexity(MetricSettings):
    """Perplexity of the expected answers, e to the power of `held_out_loss`."""


def _combine(sums: Sequence[float]) -> float | None:
    loss = mean(sums)
    if loss is None:
        return None
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


METRIC = Metric(
    name="perplexity",
    settings=Perplexity,
    tally=losses,
    combine=_combine,
    higher_is_better=False,
    is_of_texts=True,
    needs_losses=True,
)
