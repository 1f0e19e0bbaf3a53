"""`regex_match`: how often an answer contains a pattern."""

import re
from collections.abc import Sequence

from pydantic import field_validator

from controller.evaluate.metric import AnsweredExample, MetricSettings, proportion
from controller.spec.base import NonEmpty
from controller.timed_search import found_in


class RegexMatch(MetricSettings):
    """Share of answers in which a pattern is found."""

    pattern: NonEmpty
    """A regular expression in Python's syntax, searched in the whole answer."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern


def _contain(settings: RegexMatch, examples: Sequence[AnsweredExample]) -> list[bool]:
    """Search all answers. An answer without calls is wrong where a call is expected."""
    found = found_in(settings.pattern, [example.given.text for example in examples])
    return [
        is_found and (bool(example.given.calls) or not example.expected.calls)
        for is_found, example in zip(found, examples, strict=True)
    ]


METRIC = proportion("regex_match", RegexMatch, _contain)
