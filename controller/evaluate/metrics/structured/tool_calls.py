"""`tool_calls`, `tool_names`, `tool_arguments`: how often the right tools are called."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from controller.evaluate.answers import Answer
from controller.evaluate.metric import AnsweredExample, MetricSettings, Misfit, proportion


class ToolCalls(MetricSettings):
    """Share of answers with the right calls: their names and arguments, in any order.

    Where no call is expected, an answer with a call is wrong.
    """


class ToolNames(MetricSettings):
    """Share of answers that call the right tools, whatever the arguments.

    Where no call is expected, an answer with a call is wrong.
    """


class ToolArguments(MetricSettings):
    """Share of answers with the right arguments, among those that rightly call the right tools."""


def _calls_agree(_: ToolCalls, examples: Sequence[AnsweredExample]) -> list[bool]:
    return [one.expected.calls == one.given.calls for one in examples]


def _names_agree(_: ToolNames, examples: Sequence[AnsweredExample]) -> list[bool]:
    return [_names(one.expected) == _names(one.given) for one in examples]


def _arguments_agree(_: ToolArguments, examples: Sequence[AnsweredExample]) -> list[bool | None]:
    return [
        one.expected.calls == one.given.calls
        if one.expected.calls and _names(one.expected) == _names(one.given)
        else None
        for one in examples
    ]


def _names(answer: Answer) -> Counter[str]:
    return Counter(call.name for call in answer.calls)


def _expects_no_call(_: MetricSettings, references: Sequence[Answer]) -> Misfit | None:
    if any(one.calls for one in references):
        return None
    return Misfit("needs tool calls, and no held-out example expects one", "Remove it.")


METRICS = (
    replace(proportion("tool_calls", ToolCalls, _calls_agree), misfit=_expects_no_call),
    replace(proportion("tool_names", ToolNames, _names_agree), misfit=_expects_no_call),
    replace(proportion("tool_arguments", ToolArguments, _arguments_agree), misfit=_expects_no_call),
)
