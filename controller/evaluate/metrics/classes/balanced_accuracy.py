"""`balanced_accuracy`: accuracy with every label counting the same."""

from controller.evaluate.labels import LabelSettings
from controller.evaluate.metrics.classes.counts import macro


class BalancedAccuracy(LabelSettings):
    """Recall of each label, the mean over the labels that are expected.

    Examples that expect a tool call do not count.
    """


def _recall_if_expected(hits: float, _: float, misses: float) -> float | None:
    return hits / (hits + misses) if hits + misses else None


METRIC = macro("balanced_accuracy", BalancedAccuracy, _recall_if_expected)
