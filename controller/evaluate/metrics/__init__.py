"""All metrics. A new one is a module here and a line in the table below."""

from typing import Final

from controller.evaluate.metric import AnyMetric
from controller.evaluate.metrics import (
    accuracy,
    exact_match,
    held_out_loss,
    regex_match,
    stop_rate,
)

BUILT_IN_METRICS: Final[tuple[AnyMetric, ...]] = (held_out_loss.METRIC, stop_rate.METRIC)
"""Metrics that are always measured."""

METRICS: Final[tuple[AnyMetric, ...]] = (
    exact_match.METRIC,
    accuracy.METRIC,
    regex_match.METRIC,
)
"""Metrics that a spec may add, in the order of messages and of the JSON Schema."""

TEXT_METRICS: Final = tuple(one for one in BUILT_IN_METRICS if one.is_of_texts)
"""Metrics of continued pre-training, whose plain texts have no answers."""
