"""Conditions that choose fine-tunes: `ftctl status --where 'days_left < 30'`. Pure.

The grammar is that of `where` in a spec's sources; the names are facts of fine-tunes, and a name
may have several values, such as the words of a state.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from backends.did_you_mean import did_you_mean, use_one_of
from backends.excerpt import excerpt
from backends.pydantic_errors import InvalidValue
from controller.spec.conditions import COMPARISONS, Grammar, Term
from controller.spec.where import Condition, parse_where

LABELS: Final = "labels."
NAMES: Final = ("days_left", "state", "backend", "name", "owner")
_NUMBERS: Final = frozenset({"days_left"})
_ORDERS: Final = frozenset({"<", "<=", ">", ">="})
_NULL: Final = "null"
GRAMMAR: Final = Grammar(
    form="days_left < 30, state == candidate or labels.team in [growth, 'A, B'] "
    "(also == != < <= > >= not in)",
    operators=(*COMPARISONS, "in", "not in"),
    longest=10_000,
)
Facts: TypeAlias = Mapping[str, Sequence[object]]
"""Values of a fine-tune by name; a name without a value has the value None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One parsed condition on fine-tunes."""

    condition: Condition

    @property
    def name(self) -> str:
        """The fact that it is about: `days_left`, `labels.team`."""
        return self.condition.column

    def holds(self, facts: Facts) -> bool:
        """Return True if a fine-tune meets the condition.

        With several values, `==` needs one that is equal, `!=` needs all to differ.
        """
        values = facts.get(self.name) or (None,)
        found = [self.condition.holds(value) for value in values]
        return all(found) if self.condition.operator == "!=" else any(found)


def parse_filter(text: str, labels: Collection[str], states: Collection[str]) -> Filter:
    """Parse one condition.

    Args:
        text: The condition.
        labels: Keys of the labels that specs have.
        states: Words of states.

    Raises:
        InvalidValue: The text is not a condition, or names something that fine-tunes lack.
    """
    name, sign, value = GRAMMAR.split(text)
    key = name.unquoted
    if key.startswith(LABELS):
        label = key.removeprefix(LABELS)
        if label not in labels:
            at = Term(label, name.at + name.text.index(LABELS) + len(LABELS))
            raise _unknown(text, at, "the key of a label that a spec has", labels)
    elif key not in NAMES:
        raise _unknown(text, name, "a name", (*NAMES, *(LABELS + one for one in labels)))
    if sign.text in _ORDERS and key not in _NUMBERS:
        raise GRAMMAR.error(text, sign, f"== != in or not in after {excerpt(key)}")
    condition = parse_where(text, GRAMMAR)
    for one in condition.values:
        at = Term(one, value.at + max(0, value.text.find(one)))
        if key in _NUMBERS and one != _NULL and not Condition.compares(one):
            raise GRAMMAR.error(text, at, f"a number or {_NULL}")
        if key == "state" and one not in states:
            raise _unknown(text, at, "a state", states)
    return Filter(condition=condition)


def _unknown(text: str, wrong: Term, expected: str, known: Collection[str]) -> InvalidValue:
    found = excerpt(wrong.text) if wrong.text else "nothing"
    message = f"{excerpt(text.strip())}: expected {expected} at character {wrong.at + 1}, found "
    remedy = did_you_mean(wrong.text, known) or use_one_of(sorted(known))
    return InvalidValue(message + found, remedy or f"Write {GRAMMAR.form}.")
