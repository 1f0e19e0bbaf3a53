"""Conditions for production, parsed. Pure.

A condition is `METRIC OP VALUE`: `accuracy >= 0.8`, `f1_macro[lang=ko] > production.f1_macro[lang=ko]
@ 95%`, `latency_p95 <= 800ms`, `retain.json >= base.retain.json - 0.05`.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from backends.pydantic_errors import InvalidValue
from controller.evaluate.labels import label_of
from controller.evaluate.metrics import held_out_loss, preferences
from controller.spec.conditions import Grammar, Term
from controller.spec.evaluation import LABEL

CANDIDATE: Final = "candidate"
RETAIN: Final = "retain."
LOSS: Final = held_out_loss.METRIC.name
RULE: Final = f"{LOSS} <= base.{LOSS}"
"""Condition of every spec, unless it allows a worse model; skipped if a loss is unknown."""
MARGIN: Final = preferences.MARGIN.name
PREFERENCE_RULE: Final = f"{MARGIN} >= base.{MARGIN}"
"""The same where preferences are learned, which makes the expected answers less likely too."""
RULES: Final = (RULE, PREFERENCE_RULE)

_WORD = r"[a-z_][a-z0-9_]*"
_COLUMN = r"""(?:'[^'=]*+'|"[^"=]*+"|[^\[\]='"\s][^\[\]='"]*+)"""
_VALUE = r"""(?:'[^']*+'|"[^"]*+"|[^\[\]'"\s][^\[\]'"]*+)"""
_SLICE = rf"\[\s*+{_COLUMN}\s*+=\s*+{_VALUE}\s*+\]"
_METRIC = rf"(?:retain\.)?{_WORD}"
_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+)"
_SCORE = re.compile(rf"(?P<metric>{_METRIC})(?:\s*+(?P<slice>{_SLICE}))?")
_PARTS = re.compile(rf"\[\s*+(?P<column>{_COLUMN})\s*+=\s*+(?P<value>{_VALUE})\s*+\]")
_LIMIT = re.compile(
    rf"(?:(?P<number>-?{_NUMBER})(?P<unit>ms|s)?"
    rf"|(?P<model>[a-z][a-z0-9_]{{0,39}})\.(?P<other>{_METRIC}(?:\s*+{_SLICE})?)"
    rf"(?:\s*(?P<sign>[-+])\s*(?P<offset>{_NUMBER})(?P<offset_unit>ms|s)?)?)"
    rf"(?:\s*@\s*(?P<level>{_NUMBER})\s*%)?"
)
_NOT_MODELS = frozenset({CANDIDATE, RETAIN.rstrip(".")})
_LEAST_SURE, _MOST_SURE = 50.0, 99.5
"""Levels in percent. Beyond, resampling tells nothing after the correction for several conditions."""
_PER_SECOND: Final = {"ms": 1_000, "s": 1}
"""Divisors: 9 / 1,000 is 0.009, of which 9 * 0.001 makes a little more."""
GRAMMAR = Grammar(
    form="METRIC >= NUMBER, or METRIC >= base.METRIC + NUMBER (operators: >= <= > < ==), "
    "and `@ 95%` behind it for a condition that must hold for sure",
    operators=(">=", "<=", ">", "<", "=="),
    longest=1_000,
    name=re.compile(rf"[a-z_.][a-z0-9_.]*+\s*+{_SLICE}\s*+"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Examples with one value in a column."""

    column: str
    value: str

    def has(self, value: str | None) -> bool:
        """Return True if an example with a value in the column belongs to the slice.

        Expected answers are compared as labels.
        """
        if value is not None and self.column == LABEL:
            return label_of(value) == label_of(self.value)
        return value == self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One parsed condition: `metric operator (model.other +) offset (@ level)`."""

    text: str
    metric: str
    """Name of the candidate's score, as it is recorded: `accuracy[lang=ko]`, `retain.json`."""
    operator: str
    model: str | None
    """Role or name of another model, or None when the score is compared with a number."""
    other: str | None
    """Name of the other model's score."""
    offset: float
    unit: str
    """Unit of the number as written, `ms` or `s`; empty without one. `offset` is in seconds."""
    level: float | None
    """How sure the condition must be, in percent; None for a comparison of the scores alone."""

    @property
    def needs_unit(self) -> bool:
        """True if a number is written without a unit, and a time would have one."""
        return not self.unit and self.offset != 0

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores that it compares."""
        return (self.metric,) if self.other is None else (self.metric, self.other)


def parse_condition(text: str) -> Condition:
    """Parse one condition.

    Raises:
        InvalidValue: The text is not a condition.
    """
    metric, sign, value = GRAMMAR.split(text)
    score = _SCORE.fullmatch(metric.text)
    if score is None:
        raise GRAMMAR.error(text, metric, "a metric")
    match = _LIMIT.fullmatch(value.text)
    if match is None or match["model"] in _NOT_MODELS:
        raise GRAMMAR.error(text, value, "a number or MODEL.METRIC, such as base.METRIC,")
    level = None if match["level"] is None else float(match["level"])
    if level is not None and not _LEAST_SURE <= level <= _MOST_SURE:
        at = Term(match["level"], value.at + match.start("level"))
        raise GRAMMAR.error(text, at, f"a level from {_LEAST_SURE:g} to {_MOST_SURE:g}")
    if level is not None and sign.text == "==":
        raise GRAMMAR.error(text, sign, "one of >= <= > < before a level")
    number = float(match["number"] or f"{match['sign'] or ''}{match['offset'] or 0}")
    unit = match["unit"] or match["offset_unit"] or ""
    return Condition(
        text=text.strip(),
        metric=_recorded(metric.text),
        operator=sign.text,
        model=match["model"],
        other=None if match["other"] is None else _recorded(match["other"]),
        offset=number / _PER_SECOND.get(unit, 1),
        unit=unit,
        level=level,
    )


def split_score(name: str) -> tuple[str, Slice | None]:
    """Return the metric of a score's name, and the slice that the name asks for."""
    metric, bracket, rest = name.partition("[")
    if not bracket:
        return name, None
    column, _, value = rest.removesuffix("]").partition("=")
    return metric, Slice(column=column, value=value)


def slices_of(gate: Iterable[Condition]) -> dict[str, Slice]:
    """Return the slices that conditions name, by the names of the scores."""
    found = {name: split_score(name)[1] for one in gate for name in one.scores}
    return {name: part for name, part in found.items() if part is not None}


def gate_columns(gate: Iterable[str]) -> frozenset[str]:
    """Return the columns that a gate names. A condition that cannot be read names none."""
    return frozenset(part.column for text in gate for part in _slices_in(text))


def _slices_in(text: str) -> list[Slice]:
    try:
        return list(slices_of([parse_condition(text)]).values())
    except InvalidValue:
        return []


def _recorded(score: str) -> str:
    """Return the name of a score as it is recorded: without quotes and blanks."""
    match = _SCORE.fullmatch(score)
    if match is None or match["slice"] is None:
        return score
    part = _PARTS.fullmatch(match["slice"])
    if part is None:
        raise AssertionError("the slice of a score matches its parts")
    written = (Term(part[key].strip(), 0).unquoted for key in ("column", "value"))
    # As columns of rows are spelt.
    column, value = (unicodedata.normalize("NFC", text) for text in written)
    return f"{match['metric']}[{column}={value}]"
