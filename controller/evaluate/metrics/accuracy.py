"""`accuracy`: how often an answer is the right label."""

from collections.abc import Sequence
from dataclasses import replace

from controller.evaluate.answers import agree
from controller.evaluate.labels import LabelSettings, label_of, unlabelled, with_labels
from controller.evaluate.metric import AnsweredExample, proportion


class Accuracy(LabelSettings):
    """Share of answers with the right label; if a tool must be called, with the right calls."""


def _labels_match(settings: Accuracy, examples: Sequence[AnsweredExample]) -> list[bool]:
    """Compare labels without case and blanks around them; an unknown label is wrong.

    An expected call is a label of its own: the answer must make the same calls.
    """
    labels = {label_of(text) for text in settings.labels or ()}
    return [_is_right(example, labels) for example in examples]


def _is_right(example: AnsweredExample, labels: set[str]) -> bool:
    expected, given = example.expected, example.given
    if expected.calls or given.calls:
        return agree(expected, given)
    return label_of(given.text) in labels and label_of(given.text) == label_of(expected.text)


METRIC = replace(
    proportion("accuracy", Accuracy, _labels_match, prepare=with_labels, is_of_labels=True),
    unreachable=unlabelled,
)
