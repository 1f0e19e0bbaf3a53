"""Answers → scores. Pure, except that a stoppable child process searches patterns.

Two metrics are always measured: `held_out_loss` is the mean negative log likelihood of the expected
answers' tokens in nats (training minimises it, on other examples), and `stop_rate` is the share of
answers that the model ended by itself.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from backends.contract.completions import Completion
from backends.contract.inspector import Json
from controller.evaluate.answers import Answer, agree, expected_answer, given_answer
from controller.spec.model import Accuracy, AccuracyMetric, Metric, RegexMatchMetric
from controller.timed_search import found_in

ALWAYS = ("held_out_loss", "stop_rate")
OF_TEXTS = ("held_out_loss",)
"""All that continued pre-training is measured by: nobody answers a plain text."""
_ENDED = frozenset({"stop", "tool_calls"})
"""Finish reasons of an answer that the model ended by itself."""


def metric_name(metric: Metric) -> str:
    """Return the name that gates and scores use."""
    match metric:
        case AccuracyMetric():
            return "accuracy"
        case RegexMatchMetric():
            return "regex_match"
        case _:
            return metric


def metric_inputs(metric: Metric) -> Json:
    """Return what decides the metric's number, for the evaluation fingerprint.

    `accuracy` and `{accuracy: {}}` are the same metric and give the same inputs.
    """
    settings: dict[str, Json] = {}
    if not isinstance(metric, str):
        body = metric.accuracy if isinstance(metric, AccuracyMetric) else metric.regex_match
        settings = body.model_dump(mode="json", exclude_defaults=True)
    return {metric_name(metric): settings}


def score(
    metrics: Sequence[Metric],
    references: Sequence[Mapping[str, Json] | None],
    completions: Sequence[Completion],
) -> dict[str, float]:
    """Score one model's answers.

    Args:
        metrics: Metrics to measure in addition to the fixed ones.
        references: The expected answers, messages of the assistant.
        completions: The answers given, in the same order.

    Returns:
        A number for each metric's name; shares lie between 0 and 1.
    """
    expected = [expected_answer(reference) for reference in references]
    given = [given_answer(completion) for completion in completions]
    scores = _always(completions)
    for metric in metrics:
        marks = correct(metric, expected, given)
        scores[metric_name(metric)] = fmean(marks) if marks else 0.0
    return scores


def loss_alone(completions: Sequence[Completion]) -> dict[str, float]:
    """Return the one score of plain texts: the mean loss of their tokens, as `held_out_loss`."""
    measured = [c for c in completions if c.reference_loss is not None and c.reference_tokens]
    tokens = sum(c.reference_tokens for c in measured)
    total = sum((c.reference_loss or 0.0) * c.reference_tokens for c in measured)
    return {"held_out_loss": total / tokens} if tokens else {}


def correct(metric: Metric, expected: Sequence[Answer], given: Sequence[Answer]) -> list[bool]:
    """Return for each answer whether it is right by a metric.

    If the expected answer calls a tool, an answer without calls is wrong by every metric.
    """
    match metric:
        case RegexMatchMetric():
            found = found_in(metric.regex_match.pattern, [one.text for one in given])
            return [
                is_found and (bool(one.calls) or not wanted.calls)
                for is_found, wanted, one in zip(found, expected, given, strict=True)
            ]
        case AccuracyMetric():
            return _labels_match(metric.accuracy, expected, given)
        case "accuracy":
            return _labels_match(Accuracy(), expected, given)
        case _:
            return [agree(wanted, one) for wanted, one in zip(expected, given, strict=True)]


def _always(completions: Sequence[Completion]) -> dict[str, float]:
    scores = loss_alone(completions)
    if completions:
        scores["stop_rate"] = fmean(c.finish_reason in _ENDED for c in completions)
    return scores


def _labels_match(
    settings: Accuracy, expected: Sequence[Answer], given: Sequence[Answer]
) -> list[bool]:
    """Compare labels without regard to case and surrounding blanks; unknown labels are wrong.

    An expected call is its own label: the answer must make the same calls.
    """
    labels = settings.labels or [one.text for one in expected if not one.calls]
    allowed = {_label(text) for text in labels}
    return [
        agree(wanted, one)
        if wanted.calls or one.calls
        else _label(one.text) in allowed and _label(one.text) == _label(wanted.text)
        for wanted, one in zip(expected, given, strict=True)
    ]


def _label(text: str) -> str:
    return text.strip().casefold()
