"""`exact_match`: how often an answer is the expected answer."""

from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from controller.evaluate.answers import Answer, agree
from controller.evaluate.metric import AnsweredExample, MetricSettings, proportion
from controller.evaluate.metrics.normalise import Normalisation, normalised


class ExactMatch(MetricSettings):
    """Share of answers that are as expected: the same text apart from blanks, the same calls."""

    normalise: list[Normalisation] = Field(default=[])
    """Differences between texts to ignore: `case`, `punctuation`, `blanks` (anywhere; those around
    an answer never count) and `width` (full-width forms, and Hangul in pieces)."""


def _agree(settings: ExactMatch, examples: Sequence[AnsweredExample]) -> list[bool]:
    if not settings.normalise:
        return [agree(one.expected, one.given) for one in examples]
    return [agree(_plain(one.expected, settings), _plain(one.given, settings)) for one in examples]


def _plain(answer: Answer, settings: ExactMatch) -> Answer:
    return replace(answer, text=normalised(answer.text, settings.normalise))


METRIC = proportion("exact_match", ExactMatch, _agree)
