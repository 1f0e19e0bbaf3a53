"""Grammar of conditions, for `gate` and `where`: `NAME OPERATOR VALUE`. Pure.

The operator is the first one in the text. `gate` and `where` read the texts on both sides of it.
Each pattern visits each character once, so reading takes time in proportion to a text's length.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from backends.excerpt import excerpt
from backends.pydantic_errors import InvalidValue

COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}
_QUOTED = re.compile(r"""(?:'[^']*'|"[^"]*")\s*""")
_OPERATOR = re.compile(r"<=|>=|==|!=|<|>")
_OPERATOR_OR_IN = re.compile(rf"{_OPERATOR.pattern}|(?<=\s)(?:in|not\s+in)\s*\[")
_MEMBER = re.compile(r"""\s*+('[^']*'|"[^"]*"|[^\s'",\[\]][^,\[\]]*+)\s*+(?:,|$)""")
"""A value of a list with what ends it. A value with a comma or a bracket is quoted."""


class Term(NamedTuple):
    """A part of a condition, without blanks around it, and its position."""

    text: str
    at: int

    @property
    def unquoted(self) -> str:
        """The text without quotes around it."""
        text = self.text
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """Conditions of one kind."""

    form: str
    """Correct form, for messages."""
    operators: tuple[str, ...]
    longest: int
    """Maximum characters of a condition."""
    name: re.Pattern[str] = _QUOTED
    """Names at the beginning that may contain an operator."""

    def split(self, text: str) -> tuple[Term, Term, Term]:
        """Return name, operator and value; the value of `in` is the inside of its brackets.

        Raises:
            InvalidValue: The text is too long, or has no operator of this kind.
        """
        if len(text) > self.longest:
            message = f"{excerpt(text)} is {len(text):,} characters long"
            raise InvalidValue(message, f"Write at most {self.longest:,} characters.")
        text = text.strip()
        pattern = _OPERATOR_OR_IN if "in" in self.operators and text[-1:] == "]" else _OPERATOR
        name = self.name.match(text)
        found = (name and pattern.match(text, name.end())) or pattern.search(text, 1)
        if found is None:
            raise InvalidValue(f"{excerpt(text)} has no operator", f"Write {self.form}.")
        is_list = found[0].endswith("[")
        sign = Term(" ".join(found[0].rstrip("[").split()), found.start())
        if sign.text not in self.operators:
            raise self.error(text, sign, f"one of {' '.join(self.operators)}")
        value = _term(text, found.end(), len(text) - is_list)
        return _term(text, 0, sign.at), sign, value

    def members(self, text: str, inside: Term) -> tuple[str, ...]:
        """Return the values inside the brackets of a list, which may end with a comma.

        Raises:
            InvalidValue: The list is empty, or something in it is not a value.
        """
        values: list[str] = []
        at, end = 0, len(inside.text)
        while at < end and (match := _MEMBER.match(inside.text, at)):
            values.append(Term(match[1].rstrip(), at).unquoted)
            at = match.end()
        if at < end or not values:
            wrong = _term(text.strip(), inside.at + at, inside.at + end)
            raise self.error(text, wrong, "a value of the list")
        return tuple(values)

    def error(self, text: str, wrong: Term, expected: str) -> InvalidValue:
        """Return the error for a part of a condition that is not what is expected there."""
        found = excerpt(wrong.text) if wrong.text else "nothing"
        message = f"expected {expected} at character {wrong.at + 1}, found {found}"
        return InvalidValue(f"{excerpt(text.strip())}: {message}", f"Write {self.form}.")


def _term(text: str, start: int, end: int) -> Term:
    part = text[start:end]
    return Term(part.strip(), end - len(part.lstrip()))
