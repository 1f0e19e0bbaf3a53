"""`contains`: how often an answer contains a text."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from controller.evaluate.answers import Answer
from controller.evaluate.metric import AnsweredExample, MetricSettings, proportion
from controller.evaluate.metrics.normalise import Normalisation, normalised
from controller.spec.base import NonEmpty


class Contains(MetricSettings):
    """Share of answers that contain a text: the expected answer, or texts of your own.

    Where tool calls are expected, they must be among those of the answer.
    """

    texts: list[NonEmpty] = Field(default=[])
    """Texts to look for, instead of the expected answer."""
    match: Literal["all", "any"] = "all"
    """Whether an answer must contain all of `texts`, or any one."""
    normalise: list[Normalisation] = Field(default=[])
    """Differences to ignore: `case`, `punctuation`, `blanks` and `width`, as `exact_match` does."""


def _contain(settings: Contains, examples: Sequence[AnsweredExample]) -> list[bool]:
    return [_contains(settings, one.expected, one.given) for one in examples]


def _contains(settings: Contains, expected: Answer, given: Answer) -> bool:
    if settings.texts:
        has_calls = bool(given.calls) or not expected.calls
    else:
        has_calls = not Counter(expected.calls) - Counter(given.calls)
    text = normalised(given.text, settings.normalise)
    wanted = settings.texts or [expected.text]
    found = (normalised(one, settings.normalise) in text for one in wanted)
    return has_calls and (all(found) if settings.match == "all" else any(found))


METRIC = proportion("contains", Contains, _contain)
