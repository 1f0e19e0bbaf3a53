"""`accuracy`: how often an answer is the right label."""

from collections.abc import Sequence

from controller.evaluate.answers import agree
from controller.evaluate.metric import AnsweredExample, proportion
from controller.spec.base import NonEmpty, Strict


class Accuracy(Strict):
    """Share of answers with the right label; if a tool must be called, with the right calls."""

    labels: list[NonEmpty] | None = None
    """The labels; taken from the held-out set when absent."""


def _labels_match(settings: Accuracy, examples: Sequence[AnsweredExample]) -> list[bool]:
    """Compare labels without case and blanks around them; an unknown label is wrong.

    An expected call is a label of its own: the answer must make the same calls.
    """
    found = [example.expected.text for example in examples if not example.expected.calls]
    labels = {_label(text) for text in settings.labels or found}
    return [_is_right(example, labels) for example in examples]


def _is_right(example: AnsweredExample, labels: set[str]) -> bool:
    expected, given = example.expected, example.given
    if expected.calls or given.calls:
        return agree(expected, given)
    return _label(given.text) in labels and _label(given.text) == _label(expected.text)


def _label(text: str) -> str:
    return text.strip().casefold()


METRIC = proportion("accuracy", Accuracy, _labels_match)
