"""All metrics. A new one is a module in this package and a line in the table below.

A module of a metric is imported when a spec names the metric: specs are read by every command.
"""

from importlib import import_module
from typing import Final

from controller.evaluate.metric import AnyMetric
from controller.evaluate.metrics import held_out_loss, preferences, stop_rate

BUILT_IN_METRICS: Final[tuple[AnyMetric, ...]] = (
    held_out_loss.METRIC,
    stop_rate.METRIC,
    *preferences.METRICS,
)
"""Metrics that are always measured; those of preferences, where the data has preferences."""

TEXT_METRICS: Final = tuple(one for one in BUILT_IN_METRICS if one.is_of_texts)
"""Metrics of continued pre-training that are always measured; its texts have no answers."""

_CLASSES: Final = "controller.evaluate.metrics.classes"
_TEXTS: Final = "controller.evaluate.metrics.texts"
_STRUCTURED: Final = "controller.evaluate.metrics.structured"
_USAGE: Final = "controller.evaluate.metrics.usage"

MODULES: Final = {
    "exact_match": "controller.evaluate.metrics.exact_match",
    "contains": "controller.evaluate.metrics.contains",
    "regex_match": "controller.evaluate.metrics.regex_match",
    "numeric": "controller.evaluate.metrics.numeric",
    "accuracy": "controller.evaluate.metrics.accuracy",
    "balanced_accuracy": f"{_CLASSES}.balanced_accuracy",
    **dict.fromkeys(("precision", "precision_macro", "precision_micro"), f"{_CLASSES}.precision"),
    **dict.fromkeys(("recall", "recall_macro", "recall_micro"), f"{_CLASSES}.recall"),
    **dict.fromkeys(("f1", "f1_macro", "f1_micro"), f"{_CLASSES}.f1"),
    "unknown_labels": f"{_CLASSES}.unknown_labels",
    "chrf": f"{_TEXTS}.chrf",
    "bleu": f"{_TEXTS}.bleu",
    "rouge_l": f"{_TEXTS}.rouge_l",
    "json_valid": f"{_STRUCTURED}.json_valid",
    "json_schema": f"{_STRUCTURED}.json_schema",
    "json_field": f"{_STRUCTURED}.json_field",
    **dict.fromkeys(("tool_calls", "tool_names", "tool_arguments"), f"{_STRUCTURED}.tool_calls"),
    "perplexity": "controller.evaluate.metrics.perplexity",
    "answer_tokens": f"{_USAGE}.answer_tokens",
    **dict.fromkeys(("latency_p50", "latency_p95"), f"{_USAGE}.latency"),
    "cost_per_1000": f"{_USAGE}.cost_per_1000",
    "judge": "controller.evaluate.metrics.judge",
    "human": "controller.evaluate.metrics.human",
    "promptfoo": "controller.evaluate.metrics.promptfoo.metric",
}
"""Modules of the metrics that a spec may add, by name, in the order of help and JSON Schema. Each
has its metric in `METRIC`, or several in `METRICS`."""


def metric_called(name: str) -> AnyMetric:
    """Return a metric that a spec may add.

    Raises:
        KeyError: No metric of ftctl has that name.
    """
    module = import_module(MODULES[name])
    metrics: tuple[AnyMetric, ...] = getattr(module, "METRICS", ()) or (module.METRIC,)
    return next(one for one in metrics if one.name == name)


def all_metrics() -> tuple[AnyMetric, ...]:
    """Return every metric that a spec may add, in the order of the table."""
    return tuple(map(metric_called, MODULES))
