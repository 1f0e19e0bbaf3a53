"""`cost_per_1000`: what answers cost at a price per token."""

from collections.abc import Sequence
from typing import Final

from pydantic import Field

from controller.evaluate.metric import AnsweredExample, Metric, MetricSettings, Tally

_ANSWERS: Final = 1_000
_PRICED_TOKENS: Final = 1_000_000


class CostPer1000(MetricSettings):
    """Cost of 1,000 answers in US dollars, by the tokens of prompts and answers.

    Every compared model is counted at the same prices. Answers whose tokens the backend does
    not count are left out.
    """

    input_per_million: float = Field(ge=0)
    """US dollars for a million tokens of prompts."""
    output_per_million: float = Field(ge=0)
    """US dollars for a million tokens of answers."""


def _dollars(settings: CostPer1000, examples: Sequence[AnsweredExample]) -> list[Tally | None]:
    completions = (one.completion for one in examples)
    return [
        (
            (
                one.prompt_tokens * settings.input_per_million
                + one.completion_tokens * settings.output_per_million
            )
            / _PRICED_TOKENS,
            1.0,
        )
        if one.prompt_tokens and one.completion_tokens
        else None
        for one in completions
    ]


def _of_many(sums: Sequence[float]) -> float | None:
    return _ANSWERS * sums[0] / sums[1] if sums[1] else None


METRIC = Metric(
    name="cost_per_1000",
    settings=CostPer1000,
    tally=_dollars,
    combine=_of_many,
    higher_is_better=False,
)
