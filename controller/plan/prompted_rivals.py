"""Rivals with a better prompt and no training, that do as well as a trained model. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from controller.evaluate.gate import CANDIDATE, parse_condition
from controller.evaluate.metric import AnyMetric
from controller.evaluate.metrics import BUILT_IN_METRICS
from controller.lockfile.model import Entry, Evaluation, Lockfile
from controller.plan.desired import Desired
from controller.plan.versions import holds
from controller.spec.model import Spec

SURE: Final = 0.95
"""Level at which training must have shown an advantage."""


def prompt_notes(desired: Mapping[str, Desired], recorded: Lockfile) -> Iterator[str]:
    """Yield a line for each fine-tune whose newest measured build is no better than a prompt."""
    for name, one in desired.items():
        entry = recorded.finetunes.get(name, Entry())
        build = entry.builds.get(entry.candidate or entry.production or "")
        evaluation = build.evaluation if build is not None else None
        if evaluation is not None and holds(evaluation, one):
            yield from (f"{name}: {text}" for text in as_good(one.spec, evaluation))


def as_good(spec: Spec, evaluation: Evaluation) -> Iterator[str]:
    """Yield a sentence for each prompted rival that the candidate is not shown to be better than.

    They are compared by the first score that the gate names, else by the spec's first metric.
    """
    name, metric = _decisive(spec)
    for rival in spec.evaluation.rivals.values():
        theirs = evaluation.scores.get(rival.name, {}).get(name)
        ours = evaluation.scores[CANDIDATE].get(name)
        record = evaluation.differences.get(rival.name, {}).get(name)
        is_prompted = rival.prompt is not None or rival.few_shot
        if not is_prompted or theirs is None or ours is None or record is None:
            continue
        low, high = record.sample.interval(SURE)
        least = low if metric.higher_is_better else high
        if least is not None and (least > 0) == metric.higher_is_better and least != 0:
            continue
        between = ""
        if low is not None and high is not None:
            between = f"; the difference is between {low:.4g} and {high:.4g}"
        yield (
            f"a prompt does as well; training may not pay: {rival.name} has {name} {theirs:.4g}, "
            f"this build {ours:.4g}{between}"
        )


def _decisive(spec: Spec) -> tuple[str, AnyMetric]:
    """Return the name and the metric of the score by which models are compared first."""
    metrics: dict[str, AnyMetric] = {one.name: one.metric for one in spec.evaluation.metrics}
    metrics |= {metric.name: metric for metric in BUILT_IN_METRICS}
    gated = [parse_condition(text).metric for text in spec.gate]
    name = next(one for one in [*gated, *metrics] if one in metrics)
    return name, metrics[name]
