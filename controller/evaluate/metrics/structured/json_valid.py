"""`json_valid`: how often an answer is JSON."""

from collections.abc import Sequence

from controller.evaluate.metric import AnsweredExample, MetricSettings, proportion
from controller.evaluate.metrics.structured.parse import NOT_JSON, parsed


class JsonValid(MetricSettings):
    """Share of answers that are JSON and nothing else: no words around it, no code fence.

    Where a tool call is expected, the arguments of all calls must be JSON.
    """


def _are_json(_: JsonValid, examples: Sequence[AnsweredExample]) -> list[bool]:
    return [_is_json(one) for one in examples]


def _is_json(example: AnsweredExample) -> bool:
    given = example.given
    if example.expected.calls:
        return bool(given.calls) and all(
            parsed(one.arguments) is not NOT_JSON for one in given.calls
        )
    return parsed(given.text) is not NOT_JSON


METRIC = proportion("json_valid", JsonValid, _are_json)
