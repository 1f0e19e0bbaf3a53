"""Conditions that choose rows of a source: `score >= 4`, `status == approved`. Pure.

A condition is `COLUMN OP VALUE` or `COLUMN in [VALUE, …]`. Nothing in it is ever run.
"""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from controller.spec.conditions import COMPARISONS, Grammar

GRAMMAR = Grammar(
    form="COLUMN >= VALUE, or COLUMN in [VALUE, 'VALUE, WITH COMMA'] (also == != < <= > not in)",
    operators=(*COMPARISONS, "in", "not in"),
    longest=10_000,
)
_ORDERS = frozenset({"<", "<=", ">", ">="})
_WORDS = frozenset({"true", "false"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One parsed condition."""

    text: str
    column: str
    operator: str
    """`==`, `!=`, `<`, `<=`, `>`, `>=`; `in` is `==` with several values, `not in` is `!=`."""
    values: tuple[str, ...]
    """As written, without quotes."""
    numbers: tuple[Decimal, ...]
    """Values that are numbers."""

    @property
    def is_order(self) -> bool:
        """True if the condition compares numbers."""
        return self.operator in _ORDERS

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
        """Return True if a row's value meets the condition.

        Two numbers are compared as numbers, also if they are text, since a table holds only text.
        Other values are compared as text, true and false as JSON spells them.
        """
        if self.operator in _ORDERS:
            number = _number(value)
            return number is not None and COMPARISONS[self.operator](number, self.numbers[0])
        equal = spelt(value) in self.values or (self.numbers and _number(value) in self.numbers)
        return bool(equal) == (self.operator == "==")


def parse_where(text: str, grammar: Grammar = GRAMMAR) -> Condition:
    """Parse one condition.

    Args:
        text: The condition.
        grammar: Gives the form that messages name.

    Raises:
        InvalidValue: The text is not a condition.
    """
    column, sign, value = grammar.split(text)
    found = {"in": "==", "not in": "!="}.get(sign.text, sign.text)
    values = (value.unquoted,) if found == sign.text else grammar.members(text, value)
    numbers = tuple(number for one in values if (number := _number(one)) is not None)
    if found in _ORDERS and not numbers:
        raise grammar.error(text, value, "a number")
    return Condition(
        text=text.strip(), column=column.unquoted, operator=found, values=values, numbers=numbers
    )


def spelt(value: object) -> str:
    """Return a row's value as the text that conditions compare."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        # Exact, however long: as floats, neighbouring IDs of 17 digits would be equal.
        number = Decimal(value) if isinstance(value, int) else Decimal(str(value))
    except InvalidOperation:
        return None
    return None if number.is_nan() else number
