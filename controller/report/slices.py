"""Means of a metric over parts of the examples: columns, the label, the length. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from backends.contract.completions import text_of
from controller.evaluate.labels import label_of
from controller.report.answer_model import SliceRow, Slices
from controller.report.confusion import MOST_LABELS
from controller.report.lines import EvaluatedExample
from controller.spec.evaluation import LABEL

LENGTH: Final = "length of the question"
MOST_VALUES: Final = 12
"""Values of one column that are shown on their own; the others are one row."""
_MOST_COLUMNS = 12
_QUARTERS = 4
_LONGEST = 100

Scored = dict[str, float | None]


class SliceCounts:
    """Values of a metric, by column and value."""

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, list[Scored]]] = defaultdict(lambda: defaultdict(list))
        self._lengths: list[tuple[int, Scored]] = []

    def add(self, example: EvaluatedExample, metric: str) -> None:
        """Count one example by its columns and its length."""
        scored = {role: values.get(metric) for role, values in example.values.items()}
        columns = dict(example.columns)
        text = (example.reference or "").strip()
        if text and not example.reference_calls:
            columns.setdefault(LABEL, text)
        for column, value in list(columns.items())[: _MOST_COLUMNS + 1]:
            # Labels are compared as `accuracy` does.
            key = label_of(value) if column == LABEL else value
            self._columns[column][key[:_LONGEST]].append(scored)
        self._lengths.append((sum(len(text_of(one)) for one in example.messages), scored))

    def result(self, roles: Sequence[str]) -> list[Slices]:
        """Return the parts, the columns in order of appearance and the length last."""
        slices = [
            Slices(column=column, rows=_by_value(values, roles))
            for column, values in self._columns.items()
            if _is_readable(column, values)
        ]
        if by_length := _by_length(self._lengths, roles):
            slices.append(Slices(column=LENGTH, rows=by_length))
        return slices


def _is_readable(column: str, values: dict[str, list[Scored]]) -> bool:
    """Return True if a column's values repeat, and labels are few enough to be labels."""
    examples = sum(map(len, values.values()))
    few = column != LABEL or len(values) <= MOST_LABELS
    return few and len(values) > 1 and examples >= 2 * len(values)


def _by_value(values: dict[str, list[Scored]], roles: Sequence[str]) -> list[SliceRow]:
    ordered = sorted(values.items(), key=lambda item: -len(item[1]))
    shown = ordered if len(ordered) <= MOST_VALUES + 1 else ordered[:MOST_VALUES]
    rows = [_row(value, scored, roles) for value, scored in shown]
    rest = ordered[len(shown) :]
    if rest:
        others = [one for _, scored in rest for one in scored]
        rows.append(_row(f"{len(rest)} other values", others, roles))
    return rows


def _by_length(lengths: Iterable[tuple[int, Scored]], roles: Sequence[str]) -> list[SliceRow]:
    ordered = sorted(lengths, key=lambda item: item[0])
    if len(ordered) < 2 * _QUARTERS:
        return []
    ends = {ordered[len(ordered) * number // _QUARTERS - 1][0] for number in range(1, _QUARTERS)}
    limits = [*sorted(ends - {ordered[-1][0]}), ordered[-1][0]]
    if len(limits) == 1:
        return []
    parts: dict[int, list[Scored]] = defaultdict(list)
    for length, scored in ordered:
        place = next(at for at, limit in enumerate(limits) if length <= limit)
        parts[place].append(scored)
    low, rows = ordered[0][0], []
    for place, limit in enumerate(limits):
        span = f"{low:,} to {limit:,}" if low < limit else f"{limit:,}"
        rows.append(_row(f"{span} characters", parts[place], roles))
        low = limit + 1
    return rows


def _row(value: str, scored: Sequence[Scored], roles: Sequence[str]) -> SliceRow:
    return SliceRow(
        value=value, count=len(scored), scores={role: _mean(scored, role) for role in roles}
    )


def _mean(scored: Sequence[Scored], role: str) -> float | None:
    values = [value for one in scored if (value := one.get(role)) is not None]
    return sum(values) / len(values) if values else None
