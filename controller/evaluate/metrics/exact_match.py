"""`exact_match`: how often an answer is the expected answer."""

from collections.abc import Sequence

from controller.evaluate.answers import agree
from controller.evaluate.metric import AnsweredExample, MetricSettings, proportion


class ExactMatch(MetricSettings):
    """Share of answers that are as expected: the same text apart from blanks, the same calls."""


def _agree(_: ExactMatch, examples: Sequence[AnsweredExample]) -> list[bool]:
    return [agree(example.expected, example.given) for example in examples]


METRIC = proportion("exact_match", ExactMatch, _agree)
