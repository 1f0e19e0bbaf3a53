"""Conditions that choose rows of a source: `score >= 4`, `status == approved`. Pure.

A condition is `COLUMN OP VALUE` or `COLUMN in [VALUE, …]`. Nothing in it is ever run.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

FORM = "COLUMN >= VALUE, COLUMN == VALUE or COLUMN in [VALUE, VALUE] (also != < <= > and not in)"

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CONDITION = re.compile(
    r"\s*(?P<column>\S.*?)\s*(?:(?P<operator><=|>=|==|!=|<|>)\s*(?P<value>.*?)"
    r"|\s(?P<member>in|not\s+in)\s*\[(?P<values>.*)\])\s*",
    re.DOTALL,
)
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|[^,]*""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One parsed condition."""

    text: str
    column: str
    operator: str
    """`==`, `!=`, `<`, `<=`, `>`, `>=`; `in` is `==` with several values, `not in` is `!=`."""
    values: tuple[str, ...]
    """As written, without quotes."""

    def holds(self, value: object) -> bool:
        """Say whether a row's value meets the condition.

        Two numbers are compared as numbers, whatever they were written as: a table knows only
        text. Everything else is compared as text, true and false as JSON spells them.
        """
        if self.operator in {"==", "!="}:
            return (_spelt(value) in self.values or _is_among(value, self.values)) == (
                self.operator == "=="
            )
        given, limit = _number(value), _number(self.values[0])
        if given is None or limit is None:
            return False
        return _COMPARE[self.operator](given, limit)


def parse_where(text: str) -> Condition:
    """Parse one condition.

    Raises:
        ValueError: It is none; the message says what is allowed.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no condition; write {FORM}")
    if match["member"]:
        values = tuple(_unquoted(value) for value in _QUOTED.findall(match["values"]) if value)
        found = "==" if match["member"] == "in" else "!="
    else:
        values = (_unquoted(match["value"]),)
        found = match["operator"]
    if found in _COMPARE and _number(values[0]) is None:
        raise ValueError(f"{text!r} compares with {values[0]!r}, which is no number")
    return Condition(
        text=text.strip(), column=_unquoted(match["column"]), operator=found, values=values
    )


def _unquoted(written: str) -> str:
    text = written.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def _spelt(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _is_among(value: object, values: tuple[str, ...]) -> bool:
    number = _number(value)
    return number is not None and any(_number(other) == number for other in values)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None
