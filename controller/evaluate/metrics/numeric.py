"""`numeric`: how often the number in an answer is the expected number."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Literal

from pydantic import Field

from controller.evaluate.answers import Answer
from controller.evaluate.metric import AnsweredExample, MetricSettings, Misfit, proportion
from controller.evaluate.metrics.numbers import numbers_in


class Numeric(MetricSettings):
    """Share of answers with the expected number, within a tolerance.

    An answer without a number is wrong. Separators of thousands, Korean, Chinese and Japanese
    units (3만 5천), minus signs and percent are read: 50 % is 0.5. Examples that expect a tool
    call do not count.
    """

    absolute: float = Field(default=0.0, ge=0)
    """Largest difference that is still right."""
    relative: float = Field(default=0.0, ge=0)
    """Largest difference that is still right, as a share of the expected number: 0.01 is 1 %. The
    larger tolerance counts."""
    which: Literal["last", "first"] = "last"
    """Which number of a text is compared, if it has several."""


def _are_near(settings: Numeric, examples: Sequence[AnsweredExample]) -> list[bool | None]:
    return [_is_near(settings, one.expected, one.given) for one in examples]


def _is_near(settings: Numeric, expected: Answer, given: Answer) -> bool | None:
    wanted = _number(settings, expected)
    if expected.calls or wanted is None:
        return None
    found = None if given.calls else _number(settings, given)
    if found is None:
        return False
    tolerance = max(Decimal(str(settings.absolute)), Decimal(str(settings.relative)) * abs(wanted))
    return abs(found - wanted) <= tolerance


def _number(settings: Numeric, answer: Answer) -> Decimal | None:
    found = numbers_in(answer.text)
    return found[0 if settings.which == "first" else -1] if found else None


def _has_no_number(settings: Numeric, references: Sequence[Answer]) -> Misfit | None:
    for place, one in enumerate(references):
        if not one.calls and _number(settings, one) is None:
            return Misfit(
                "needs a number in every expected answer",
                "Correct the row, or measure its answers by another metric.",
                place,
            )
    return None


METRIC = replace(proportion("numeric", Numeric, _are_near), misfit=_has_no_number)
