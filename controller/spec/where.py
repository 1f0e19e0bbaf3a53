"""Conditions that choose rows of a source: `score >= 4`, `status == approved`. Pure.

A condition is `COLUMN OP VALUE` or `COLUMN in [VALUE, …]`. Nothing in it is ever run.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from backends.excerpt import excerpt

LONGEST = 10_000
"""Maximum characters of a condition; a longer list of values should become a column."""
FORM = "COLUMN >= VALUE, COLUMN == VALUE or COLUMN in [VALUE, VALUE] (also != < <= > and not in)"

_COMPARE: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS = frozenset({"true", "false"})
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_OPERATOR = re.compile(r"<=|>=|==|!=|<|>")
_MEMBERSHIP = re.compile(r"\s(in|not\s+in)\s*\[")
_MEMBER = re.compile(r"""\s*+('[^']*'|"[^"]*"|[^\s'",\[\]][^,\[\]]*+)\s*+(?:,|$)""")
"""One value of a list with what ends it; one that holds a comma or a bracket is quoted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One parsed condition."""

    text: str
    column: str
    operator: str
    """`==`, `!=`, `<`, `<=`, `>`, `>=`; `in` is `==` with several values, `not in` is `!=`."""
    values: tuple[str, ...]
    """As written, without quotes."""

    @property
    def is_order(self) -> bool:
        """True if the condition compares numbers."""
        return self.operator in _COMPARE

    @staticmethod
    def compares(value: object) -> bool:
        """Return True if a row's value is a number that can be compared."""
        return _number(value) is not None

    def means(self, value: object, *, is_cell: bool) -> bool:
        """Return True if a row's value meets the condition in the sense of its author.

        Like `holds`, but matches true and false in every spelling.

        Args:
            value: The row's value; None if it is missing.
            is_cell: True for a value of a table without nulls and types: an empty cell is null
                    there, and the text TRUE is true.
        """
        if is_cell and value == "" and self.operator in {"==", "!="} and "null" in self.values:
            return self.operator == "=="
        if isinstance(value, bool) or (is_cell and isinstance(value, str)):
            word = str(value).strip().lower()
            if word in _WORDS and any(one.lower() == word for one in self.values):
                return self.operator == "=="
        return self.holds(value)

    def holds(self, value: object) -> bool:
        """Say whether a row's value meets the condition.

        Two numbers are compared as numbers, whatever they were written as: a table knows only
        text. Everything else is compared as text, true and false as JSON spells them.
        """
        if self.operator in {"==", "!="}:
            return (_spelt(value) in self.values or _is_among(value, self.values)) == (
                self.operator == "=="
            )
        given, limit = _number(value), _written_number(self.values[0])
        if given is None or limit is None:
            return False
        return _COMPARE[self.operator](given, limit)


def parse_where(text: str) -> Condition:
    """Parse one condition.

    Raises:
        ValueError: It is none; the message says what is allowed.
    """
    if len(text) > LONGEST:
        raise ValueError(
            f"{excerpt(text)} is {len(text):,} characters long; a condition has at most {LONGEST:,}"
        )
    parts = _parts(text.strip())
    if parts is None:
        raise ValueError(f"{excerpt(text)} is no condition; write {FORM}")
    column, found, written = parts
    if found in {"in", "not in"}:
        values = _members(text, written)
        found = "==" if found == "in" else "!="
    else:
        values = (_unquoted(written),)
    if found in _COMPARE and _number(values[0]) is None:
        raise ValueError(f"{excerpt(text)} compares with {excerpt(values[0])}, which is no number")
    return Condition(text=text.strip(), column=_unquoted(column), operator=found, values=values)


def _parts(text: str) -> tuple[str, str, str] | None:
    """Split a condition into column, operator and value, at the first operator.

    Each pattern is searched once and visits each character once, so that the time is linear in the
    length of the text and not quadratic.
    """
    quoted = _QUOTED.match(text)
    if quoted is not None:
        # The quote ends the column if an operator follows.
        after = len(text) - len(text[quoted.end() :].lstrip())
        found = _OPERATOR.match(text, after) or _MEMBERSHIP.match(
            text, max(after - 1, quoted.end())
        )
        if (parts := _split(text, found)) is not None:
            return parts
    compared, member = _OPERATOR.search(text, 1), _MEMBERSHIP.search(text, 1)
    if not text.endswith("]"):
        member = None
    found = min(filter(None, (compared, member)), key=re.Match.start, default=None)
    return _split(text, found)


def _split(text: str, found: re.Match[str] | None) -> tuple[str, str, str] | None:
    if found is None:
        return None
    column, rest = text[: found.start()].rstrip(), text[found.end() :]
    if found.re is _OPERATOR:
        return column, found[0], rest
    return (column, " ".join(found[1].split()), rest[:-1]) if rest.endswith("]") else None


def _members(text: str, written: str) -> tuple[str, ...]:
    """Return the values of a list, which may end with a comma."""
    values: list[str] = []
    at, end = 0, len(written.rstrip())
    while at < end:
        match = _MEMBER.match(written, at)
        if match is None:
            break
        values.append(_unquoted(match[1]))
        at = match.end()
    if at < end or not values:
        wrong = excerpt(written[at:end].strip()) if values or end else "nothing"
        raise ValueError(
            f"{excerpt(text)} has {wrong} in its list where a value is expected; write {FORM}, "
            f"and quotes around a value that holds a comma"
        )
    return tuple(values)


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
    return number is not None and any(_written_number(other) == number for other in values)


@lru_cache(maxsize=1000)
def _written_number(value: str) -> Decimal | None:
    """Return the number in a condition, parsed once for all rows."""
    return _number(value)


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        # Exact, however long: as floats, neighbouring IDs of 17 digits would be equal.
        number = Decimal(value) if isinstance(value, int) else Decimal(str(value))
    except InvalidOperation:
        return None
    return None if number.is_nan() else number
