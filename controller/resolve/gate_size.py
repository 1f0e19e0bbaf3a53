"""Check if the held-out set is large enough for the gate, and has its slices."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from statistics import NormalDist
from types import MappingProxyType
from typing import Final

from backends.did_you_mean import did_you_mean
from backends.excerpt import excerpt
from controller.data.dataset import Split
from controller.data.reports.traced_examples import read_traced_examples
from controller.errors import Problem
from controller.evaluate.gate import Condition, parse_condition, slices_of, split_score
from controller.evaluate.metric import AnyMetric
from controller.evaluate.metrics import BUILT_IN_METRICS
from controller.evaluate.statistics.decide import fewest_examples
from controller.spec.load import LoadedSpec
from controller.spec.model import Spec

FINE: Final = 0.1
"""A condition that is decided to within this is not warned of."""
_Z: Final = NormalDist().inv_cdf(0.975)
_SHOWN: Final = 8
"""Maximum number of a column's values that a message names."""
_LEAST_VARIANCE: Final = 0.05
"""Shares near 0 and 1 are taken to vary at least this much."""


def unanswerable(
    loaded: LoadedSpec, held_out: Split, retained: Mapping[str, int], *, is_new: bool
) -> Iterator[Problem]:
    """Yield the conditions that no answers of models could decide.

    Args:
        loaded: The spec.
        held_out: The held-out split.
        retained: Number of prompts of each `retain.NAME` that is a share of them.
        is_new: True if a model would be trained for it. A recorded one is judged as it is.
    """
    if is_new:
        yield from too_small(loaded, held_out.examples, retained)
    yield from empty_slices(loaded, held_out)


def empty_slices(loaded: LoadedSpec, held_out: Split) -> Iterator[Problem]:
    """Yield the conditions on slices that no held-out example belongs to."""
    # A condition may compare two slices: `f1[lang=ko] >= base.f1[lang=en]`.
    slices = [
        (index, part)
        for index, text in enumerate(loaded.spec.gate)
        for part in dict.fromkeys(slices_of([parse_condition(text)]).values())
    ]
    columns = {part.column for _, part in slices}
    if not columns:
        return
    values: dict[str, Counter[str]] = {column: Counter() for column in columns}
    for row in read_traced_examples(held_out):
        for column, counted in values.items():
            if (value := row.value(column)) is not None:
                counted[value] += 1
    for index, part in slices:
        known = values[part.column]
        if any(part.has(value) for value in known):
            continue
        shown = ", ".join(excerpt(value) for value, _ in known.most_common(_SHOWN))
        message = f"no held-out example has {excerpt(part.value)} in {part.column}"
        remedy = did_you_mean(part.value, known) or f"Use one of: {shown}."
        yield loaded.problem(("gate", index), message, remedy)


def too_small(
    loaded: LoadedSpec, examples: int, retained: Mapping[str, int] = MappingProxyType({})
) -> Iterator[Problem]:
    """Yield the conditions that cannot hold with so few examples, whatever the models answer.

    Args:
        loaded: The spec.
        examples: Number of held-out examples.
        retained: Number of prompts of each `retain.NAME` that is a share of them.
    """
    conditions = [parse_condition(text) for text in loaded.spec.gate]
    for index, condition in enumerate(conditions):
        prompts = retained.get(condition.metric)
        is_share = prompts is not None or _is_share(loaded.spec, condition)
        if condition.level is None or not is_share:
            continue
        needed = fewest_examples(
            condition.offset,
            condition.level / 100,
            below=condition.operator in {"<", "<="},
            is_difference=condition.model is not None,
        )
        if needed is None:
            message = f"`{condition.text}` cannot hold, whatever the models answer"
            yield loaded.problem(("gate", index), message, "Lower the number.")
        elif needed > (examples if prompts is None else prompts):
            what = f"{examples} held-out examples"
            remedy = (
                f"Use at least {needed} held-out examples, widen the margin, or lower the level."
            )
            if prompts is not None:
                what = f"{prompts} prompts of {condition.metric}"
                remedy = "Ask for a wider margin, or be less sure."
            message = f"{what} cannot show `{condition.text}`, whatever the models answer"
            yield loaded.problem(("gate", index), message, remedy)


def rough(spec: Spec, examples: int) -> Iterator[str]:
    """Yield a sentence for each condition on a share that so few examples decide only roughly.

    Conditions with a level need no such sentence: where examples are few, they cannot tell.

    Args:
        spec: The spec.
        examples: Number of held-out examples.
    """
    for text in spec.gate:
        condition = parse_condition(text)
        is_fixed = condition.model is None and condition.level is None
        if not is_fixed or "[" in condition.metric or not _is_share(spec, condition):
            continue
        share = min(max(condition.offset, 0.0), 1.0)
        variance = max(share * (1 - share), _LEAST_VARIANCE)
        # The standard error of a share, by the normal approximation; see any book on sampling.
        within = _Z * math.sqrt(variance / examples)
        if within > FINE:
            enough = math.ceil(variance * (_Z / FINE) ** 2)
            yield (
                f"{examples} held-out examples decide `{condition.text}` to within "
                f"\u00b1{within:.2f}; {enough} would to within \u00b1{FINE}"
            )


def _is_share(spec: Spec, condition: Condition) -> bool:
    measured: dict[str, AnyMetric] = {metric.name: metric for metric in BUILT_IN_METRICS}
    measured |= {one.name: one.metric for one in spec.evaluation.metrics}
    metric = measured.get(split_score(condition.metric)[0])
    return metric is not None and metric.is_proportion
