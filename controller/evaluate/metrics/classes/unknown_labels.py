"""`unknown_labels`: how often an answer is not a label at all."""

from collections.abc import Sequence

from controller.evaluate.labels import LabelSettings, label_of, with_labels
from controller.evaluate.metric import AnsweredExample, proportion
from controller.evaluate.metrics.classes.counts import pairs


class UnknownLabels(LabelSettings):
    """Share of answers that are not a label. Examples that expect a tool call do not count."""


def _are_unknown(settings: UnknownLabels, examples: Sequence[AnsweredExample]) -> list[bool | None]:
    labels = {label_of(text) for text in settings.labels or ()}
    return [
        None if pair is None else one.given.calls != () or pair[1] not in labels
        for one, pair in zip(examples, pairs(examples), strict=True)
    ]


METRIC = proportion(
    "unknown_labels",
    UnknownLabels,
    _are_unknown,
    prepare=with_labels,
    higher_is_better=False,
    is_of_labels=True,
)
