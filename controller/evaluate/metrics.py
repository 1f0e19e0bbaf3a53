"""Answers → scores. Pure.

Two are always measured: `held_out_loss`, the mean negative log likelihood of the expected answers'
tokens in nats (what training minimises, on examples it never saw), and `stop_rate`, the share of
answers that the model ended by itself.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from backends.base import Completion, Json
from controller.searching import found_in
from controller.spec.model import Accuracy, AccuracyMetric, Metric, RegexMatchMetric

ALWAYS = ("held_out_loss", "stop_rate")
OF_TEXTS = ("held_out_loss",)
"""All that continued pre-training is measured by: nobody answers a plain text."""


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
    metrics: Sequence[Metric], references: Sequence[str], completions: Sequence[Completion]
) -> dict[str, float]:
    """Score one model's answers.

    Args:
        metrics: What to measure besides what always is.
        references: The expected answers.
        completions: The answers given, in the same order.

    Returns:
        A number for each metric's name; shares lie between 0 and 1.
    """
    answers = [completion.text for completion in completions]
    scores = _always(completions)
    for metric in metrics:
        marks = correct(metric, references, answers)
        scores[metric_name(metric)] = fmean(marks) if marks else 0.0
    return scores


def loss_alone(completions: Sequence[Completion]) -> dict[str, float]:
    """Return the one score of plain texts: the mean loss of their tokens, as `held_out_loss`."""
    measured = [c for c in completions if c.reference_loss is not None and c.reference_tokens]
    tokens = sum(c.reference_tokens for c in measured)
    total = sum((c.reference_loss or 0.0) * c.reference_tokens for c in measured)
    return {"held_out_loss": total / tokens} if tokens else {}


def correct(metric: Metric, references: Sequence[str], answers: Sequence[str]) -> list[bool]:
    """Say for each answer whether it is right by one metric."""
    match metric:
        case RegexMatchMetric():
            return found_in(metric.regex_match.pattern, answers)
        case AccuracyMetric():
            return _labels_match(metric.accuracy, references, answers)
        case "accuracy":
            return _labels_match(Accuracy(), references, answers)
        case _:
            pairs = zip(references, answers, strict=True)
            return [expected.strip() == given.strip() for expected, given in pairs]


def label_counts(references: Sequence[str]) -> Mapping[str, int]:
    """Count the expected answers; for `accuracy` these are the labels."""
    counts: dict[str, int] = {}
    for reference in references:
        counts[_label(reference)] = counts.get(_label(reference), 0) + 1
    return counts


def _always(completions: Sequence[Completion]) -> dict[str, float]:
    scores = loss_alone(completions)
    if completions:
        scores["stop_rate"] = fmean(c.finish_reason == "stop" for c in completions)
    return scores


def _labels_match(
    settings: Accuracy, references: Sequence[str], answers: Sequence[str]
) -> list[bool]:
    """Compare labels without regard to case and surrounding blanks; no label is no hit."""
    allowed = {_label(text) for text in settings.labels or references}
    pairs = zip(references, answers, strict=True)
    return [
        _label(given) in allowed and _label(given) == _label(expected) for expected, given in pairs
    ]


def _label(text: str) -> str:
    return text.strip().casefold()
