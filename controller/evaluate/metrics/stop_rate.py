"""`stop_rate`: how often a model ends its answer by itself."""

from collections.abc import Sequence
from typing import Final

from controller.evaluate.metric import AnsweredExample, MetricSettings, proportion

_ENDED: Final = frozenset({"stop", "tool_calls"})
"""Finish reasons of an answer that the model ended by itself."""


class StopRate(MetricSettings):
    """Share of answers that the model ended by itself."""


def _has_ended(_: StopRate, examples: Sequence[AnsweredExample]) -> list[bool]:
    return [example.completion.finish_reason in _ENDED for example in examples]


METRIC = proportion("stop_rate", StopRate, _has_ended)
