"""Answers → tallies → scores by name. Pure, except that a stoppable child searches patterns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, TypeAlias

from backends.contract.completions import Completion
from backends.contract.inspector import Json
from controller.evaluate.answers import expected_answer, given_answer
from controller.evaluate.metric import AnsweredExample, AnyMetric, Tally
from controller.evaluate.metrics import BUILT_IN_METRICS, TEXT_METRICS
from controller.spec.metrics import ChosenMetric

Tallies: TypeAlias = dict[str, list[Tally | None]]
"""Tallies of one model's answers by metric, in the order of the examples."""
_AT_ONCE: Final = 512
"""Examples that are scored together, so that memory does not grow with the held-out set."""


def chosen_metrics(
    metrics: Sequence[ChosenMetric],
    references: Iterable[Mapping[str, Json] | None],
    *,
    of_texts: bool = False,
    of_preferences: bool = False,
) -> list[ChosenMetric]:
    """Return the metrics to measure, the built-in ones first, with complete settings.

    Args:
        metrics: Metrics that the spec asks for.
        references: The expected answers of the whole held-out set.
        of_texts: True for plain texts, which nobody answers.
        of_preferences: True for preference pairs and marked answers.
    """
    built_in = TEXT_METRICS if of_texts else BUILT_IN_METRICS
    built_in = tuple(one for one in built_in if of_preferences or not one.is_of_preferences)
    chosen = [ChosenMetric(metric, metric.settings()) for metric in built_in]
    if of_texts:
        return chosen + [one for one in metrics if one.metric.is_of_texts]
    answers = [expected_answer(one) for one in references if one is not None] if metrics else []
    return chosen + [one.prepared(answers) for one in metrics]


def measured_metrics(
    metrics: Sequence[ChosenMetric], *, of_texts: bool = False, of_preferences: bool = False
) -> dict[str, AnyMetric]:
    """Return every metric that is measured, by its name in gates and scores.

    Args:
        metrics: Metrics that the spec asks for.
        of_texts: True for plain texts, which nobody answers.
        of_preferences: True for preference pairs and marked answers.
    """
    chosen = chosen_metrics(metrics, (), of_texts=of_texts, of_preferences=of_preferences)
    return {one.name: one.metric for one in chosen}


def tally(metrics: Sequence[ChosenMetric], examples: Iterable[AnsweredExample]) -> Tallies:
    """Return the tallies of one model's answers."""
    tallies: Tallies = {one.name: [] for one in metrics}
    for some in _batches(examples):
        for one in metrics:
            tallies[one.name] += _tallies(one, some)
    return tallies


def _tallies(one: ChosenMetric, some: Sequence[AnsweredExample]) -> Sequence[Tally | None]:
    """Return a tally for each example; None where there is no answer to compare with."""
    found = one.metric.tally(one.settings, some)
    if one.metric in BUILT_IN_METRICS or not any(example.is_unwanted for example in some):
        return found
    return [
        None if example.is_unwanted else tally for example, tally in zip(some, found, strict=True)
    ]


def scores_of(metrics: Sequence[ChosenMetric], tallies: Tallies) -> dict[str, float]:
    """Return the score of each metric by its name. One that could not be measured is absent."""
    measured = {one.name: one.metric.score(tallies[one.name]) for one in metrics}
    return {name: number for name, number in measured.items() if number is not None}


def answered(
    reference: Mapping[str, Json] | None,
    completion: Completion,
    *,
    question: Sequence[Mapping[str, Json]] = (),
    columns: Mapping[str, str] | None = None,
    base: Completion | None = None,
    is_unwanted: bool = False,
) -> AnsweredExample:
    """Return an example with an answer, both as they are compared.

    Args:
        reference: The expected answer, if there is one.
        completion: The answer.
        question: Messages before the answer.
        columns: Columns of the example's row that slices and groups name.
        base: As of `AnsweredExample`.
        is_unwanted: As of `AnsweredExample`.
    """
    return AnsweredExample(
        expected=expected_answer(reference),
        given=given_answer(completion),
        completion=completion,
        question=question,
        columns=columns or {},
        base=base,
        is_unwanted=is_unwanted,
    )


def _batches(examples: Iterable[AnsweredExample]) -> Iterator[list[AnsweredExample]]:
    rest = iter(examples)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
