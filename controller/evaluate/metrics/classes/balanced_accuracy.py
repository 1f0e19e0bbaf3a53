"""`balanced_accuracy`: accuracy with every label counting the same."""

from collections.abc import Sequence

from controller.evaluate.labels import LabelSettings, unlabelled, with_labels
from controller.evaluate.metric import Metric
from controller.evaluate.metrics.classes.counts import (
    HITS_FALSE_ALARMS_MISSES,
    tallies_by_label,
)


class BalancedAccuracy(LabelSettings):
    """Recall of each label, the mean over the labels that are expected.

    Examples that expect a tool call do not count.
    """


def _combine(sums: Sequence[float]) -> float | None:
    step = HITS_FALSE_ALARMS_MISSES
    hits, misses = sums[::step], sums[2::step]
    found = [hit / (hit + miss) for hit, miss in zip(hits, misses, strict=True) if hit + miss]
    return sum(found) / len(found) if found else None


METRIC = Metric(
    name="balanced_accuracy",
    settings=BalancedAccuracy,
    tally=tallies_by_label,
    combine=_combine,
    higher_is_better=True,
    full_score=1.0,
    prepare=with_labels,
    unreachable=unlabelled,
    is_of_labels=True,
)
