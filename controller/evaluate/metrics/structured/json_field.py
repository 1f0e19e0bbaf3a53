"""`json_field`: how often one field of an answer has the expected value."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from controller.evaluate.answers import Answer
from controller.evaluate.metric import AnsweredExample, MetricSettings, Misfit, proportion
from controller.evaluate.metrics.structured.parse import (
    NOT_JSON,
    NotJson,
    Parsed,
    canonical,
    parsed,
)
from controller.spec.base import NonEmpty

_ABSENT: Final = b""


class JsonField(MetricSettings):
    """Share of answers in JSON with the expected value in one field.

    Where the expected answer lacks the field, the answer must lack it too. Examples that expect
    a tool call do not count.
    """

    field: NonEmpty
    """The field: a key, or keys and places in lists with points between them: `items.0.price`."""


def _agree(settings: JsonField, examples: Sequence[AnsweredExample]) -> list[bool | None]:
    return [_agrees(settings.field, one.expected, one.given) for one in examples]


def _agrees(field: str, expected: Answer, given: Answer) -> bool | None:
    wanted, found = _value(field, expected), _value(field, given)
    if expected.calls or wanted is None:
        return None
    return found == wanted


def _value(field: str, answer: Answer) -> bytes | None:
    """Return the canonical JSON of a field, empty where it is absent; None if there is no JSON."""
    value = parsed(answer.text)
    if value is NOT_JSON:
        return None
    inner = _inside(value, field)
    return _ABSENT if isinstance(inner, NotJson) else canonical(inner)


def _inside(value: Parsed, field: str) -> Parsed:
    if isinstance(value, Mapping) and field in value:
        return value[field]
    key, _, rest = field.partition(".")
    inner: Parsed = NOT_JSON
    if isinstance(value, Mapping) and key in value:
        inner = value[key]
    elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
        inner = value[int(key)]
    return _inside(inner, rest) if rest else inner


def _is_not_json(_: JsonField, references: Sequence[Answer]) -> Misfit | None:
    for place, one in enumerate(references):
        if not one.calls and parsed(one.text) is NOT_JSON:
            return Misfit(
                "needs JSON in every expected answer",
                "Correct the row, or measure its answers by another metric.",
                place,
            )
    return None


METRIC = replace(proportion("json_field", JsonField, _agree), misfit=_is_not_json)
