"""Answers → scores by name. Pure, except that a stoppable child process searches patterns."""

from collections.abc import Mapping, Sequence

from backends.contract.completions import Completion
from backends.contract.inspector import Json
from controller.evaluate.answers import expected_answer, given_answer
from controller.evaluate.metric import AnsweredExample
from controller.evaluate.metrics import BUILT_IN_METRICS, TEXT_METRICS
from controller.spec.metrics import ChosenMetric


def score(
    metrics: Sequence[ChosenMetric],
    references: Sequence[Mapping[str, Json] | None],
    completions: Sequence[Completion],
) -> dict[str, float]:
    """Score one model's answers.

    Args:
        metrics: Metrics to measure in addition to the built-in ones.
        references: The expected answers, messages of the assistant.
        completions: The answers given, in the same order.

    Returns:
        Score of each metric by its name. A metric that could not be measured is absent.
    """
    built_in = [ChosenMetric(metric, metric.settings()) for metric in BUILT_IN_METRICS]
    return _scores([*built_in, *metrics], references, completions)


def loss_only(completions: Sequence[Completion]) -> dict[str, float]:
    """Return the scores of plain texts, which nobody answers: the mean loss of their tokens."""
    metrics = [ChosenMetric(metric, metric.settings()) for metric in TEXT_METRICS]
    return _scores(metrics, [None] * len(completions), completions)


def _scores(
    metrics: Sequence[ChosenMetric],
    references: Sequence[Mapping[str, Json] | None],
    completions: Sequence[Completion],
) -> dict[str, float]:
    examples = [
        AnsweredExample(
            expected=expected_answer(reference),
            given=given_answer(completion),
            completion=completion,
        )
        for reference, completion in zip(references, completions, strict=True)
    ]
    measured = {one.name: one.metric.measure(one.settings, examples) for one in metrics}
    return {name: number for name, number in measured.items() if number is not None}
