"""Right and wrong answers counted by label, as precision, recall and F1 need them. Pure.

An answer that is not a label is a miss of the expected label, and a false alarm of none. Answers
with tool calls are not labels. Examples that expect a tool call do not count.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from backends.did_you_mean import use_one_of
from backends.excerpt import clipped
from controller.evaluate.answers import Answer
from controller.evaluate.labels import LabelSettings, label_of, labels_of, unlabelled, with_labels
from controller.evaluate.metric import (
    AnsweredExample,
    Metric,
    MetricSettings,
    Misfit,
    Tally,
)
from controller.spec.base import NonEmpty

Ratio: TypeAlias = Callable[[float, float, float], float | None]
"""From hits, false alarms and misses of one label to its score; None if it has none."""

_HITS_FALSE_ALARMS_MISSES: Final = 3
"""Numbers of one label in a tally."""
_CALLS: Final = "\0"
_SHOWN: Final = 10


class OneLabel(MetricSettings):
    """Settings of a metric of one label."""

    label: NonEmpty
    """The label, compared without case and blanks around it."""


def macro(name: str, settings: type[LabelSettings], ratio: Ratio) -> Metric[LabelSettings]:
    """Return a metric: the mean of the labels' scores, each label counting the same.

    Args:
        name: Name of the metric.
        settings: Model of its settings.
        ratio: Score of one label; None for a label that does not take part.
    """

    def combine(sums: Sequence[float]) -> float | None:
        found = [one for one in (ratio(*counts) for counts in _by_label(sums)) if one is not None]
        return sum(found) / len(found) if found else None

    return _of_all_labels(name, settings, tallies_by_label, combine)


def micro(name: str, settings: type[LabelSettings], ratio: Ratio) -> Metric[LabelSettings]:
    """Return a metric: the score of the hits, false alarms and misses of all labels together.

    Args:
        name: Name of the metric.
        settings: Model of its settings.
        ratio: Score of the sums.
    """

    def tally(chosen: LabelSettings, examples: Sequence[AnsweredExample]) -> list[Tally | None]:
        known = {label_of(text) for text in chosen.labels or ()}
        return [
            None if pair is None else _counts(pair, known.__contains__) for pair in pairs(examples)
        ]

    return _of_all_labels(name, settings, tally, lambda sums: ratio(*sums) if sums else None)


def _of_all_labels(
    name: str,
    settings: type[LabelSettings],
    tally: Callable[[LabelSettings, Sequence[AnsweredExample]], Sequence[Tally | None]],
    combine: Callable[[Sequence[float]], float | None],
) -> Metric[LabelSettings]:
    return Metric(
        name=name,
        settings=settings,
        tally=tally,
        combine=combine,
        higher_is_better=True,
        full_score=1.0,
        prepare=with_labels,
        unreachable=unlabelled,
        is_of_labels=True,
    )


def of_one_label(name: str, settings: type[OneLabel], ratio: Ratio) -> Metric[OneLabel]:
    """Return a metric: the score of one label.

    Args:
        name: Name of the metric.
        settings: Model of its settings.
        ratio: Score of the label.
    """

    def tally(chosen: OneLabel, examples: Sequence[AnsweredExample]) -> list[Tally | None]:
        label = label_of(chosen.label)
        return [None if pair is None else _counts(pair, label.__eq__) for pair in pairs(examples)]

    return Metric(
        name=name,
        settings=settings,
        tally=tally,
        combine=lambda sums: ratio(*sums) if sums else None,
        higher_is_better=True,
        full_score=1.0,
        misfit=_label_is_missing,
        is_of_labels=True,
    )


def precision(hits: float, false_alarms: float, misses: float) -> float | None:
    """Return the share of hits among the answers with a label; 0 if no answer has it."""
    return _share(hits, hits + false_alarms, hits + false_alarms + misses)


def recall(hits: float, false_alarms: float, misses: float) -> float | None:
    """Return the share of hits among the examples that expect a label; 0 if no example does."""
    return _share(hits, hits + misses, hits + false_alarms + misses)


def f1(hits: float, false_alarms: float, misses: float) -> float | None:
    """Return the harmonic mean of precision and recall."""
    whole = 2 * hits + false_alarms + misses
    return _share(2 * hits, whole, whole)


def pairs(examples: Iterable[AnsweredExample]) -> Iterator[tuple[str, str] | None]:
    """Yield the expected and the given label of each example; None for one that expects a call.

    An answer with calls is given as a text that is not a label.
    """
    for one in examples:
        if one.expected.calls:
            yield None
        else:
            given = _CALLS if one.given.calls else label_of(one.given.text)
            yield label_of(one.expected.text), given


def tallies_by_label(
    chosen: LabelSettings, examples: Sequence[AnsweredExample]
) -> list[Tally | None]:
    """Return hits, false alarms and misses of every label, in the order of the labels."""
    labels = list(dict.fromkeys(label_of(text) for text in chosen.labels or ()))
    # Few tallies differ, and they are long where labels are many.
    made: dict[tuple[str, str], Tally] = {}
    found: list[Tally | None] = []
    for pair in pairs(examples):
        if pair is not None and pair not in made:
            counts = (_counts(pair, label.__eq__) for label in labels)
            made[pair] = tuple(number for one in counts for number in one)
        found.append(None if pair is None else made[pair])
    return found


def _counts(pair: tuple[str, str], counted: Callable[[str], bool]) -> Tally:
    """Return hits, false alarms and misses of one example, for the labels that are counted."""
    expected, given = pair
    if expected == given:
        return (1.0 if counted(expected) else 0.0, 0.0, 0.0)
    return (0.0, 1.0 if counted(given) else 0.0, 1.0 if counted(expected) else 0.0)


def _by_label(sums: Sequence[float]) -> Iterator[Sequence[float]]:
    for start in range(0, len(sums), _HITS_FALSE_ALARMS_MISSES):
        yield sums[start : start + _HITS_FALSE_ALARMS_MISSES]


def _share(part: float, whole: float, seen: float) -> float | None:
    """Return a share; None for a label that is neither expected nor given."""
    if not seen:
        return None
    return part / whole if whole else 0.0


def _label_is_missing(settings: OneLabel, references: Sequence[Answer]) -> Misfit | None:
    labels = labels_of(references)
    if label_of(settings.label) in labels:
        return None
    shown = [clipped(one) for one in labels if one][: _SHOWN + 1]
    return Misfit(
        f"has the label {settings.label}, which no held-out example expects",
        use_one_of(shown if len(shown) <= _SHOWN else [*shown[:_SHOWN], "…"])
        or "Add a held-out example that expects it, or remove the metric.",
    )
