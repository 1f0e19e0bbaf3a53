"""`accuracy`: how often an answer is the right label."""

from collections.abc import Iterable, Sequence

from controller.evaluate.answers import Answer, agree
from controller.evaluate.labels import label_of, labels_of
from controller.evaluate.metric import AnsweredExample, MetricSettings, proportion
from controller.spec.base import NonEmpty


class Accuracy(MetricSettings):
    """Share of answers with the right label; if a tool must be called, with the right calls."""

    labels: list[NonEmpty] | None = None
    """The labels; taken from the held-out set when absent."""


def _with_labels(settings: Accuracy, references: Iterable[Answer]) -> Accuracy:
    if settings.labels:
        return settings
    return settings.model_copy(update={"labels": labels_of(references)})


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


METRIC = proportion("accuracy", Accuracy, _labels_match, prepare=_with_labels)
