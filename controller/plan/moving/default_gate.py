"""The gate of a move whose spec writes none: the new model is not worse than production. Pure.

Only a metric whose score has ends, from 0 to a full score, can judge it by default: 0.02 of seconds
or of a loss would mean nothing. A held-out loss is measured in tokens, which two base models do not
share, and hosted services do not measure it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from controller.evaluate.metric import AnyMetric
from controller.evaluate.statistics.decide import fewest_examples
from controller.lockfile.model import Build, Entry
from controller.spec.evaluation import PRODUCTION
from controller.spec.model import Spec

MARGIN: Final = 0.02
"""Share of the full score by which a new model may be worse."""
LEVEL: Final = 95
"""Confidence level of that, in percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultGate:
    """Condition of a move, and why it is not the usual condition."""

    condition: str
    note: str = ""
    """Reason why the condition is not sure; empty for a condition with a level."""


def default_gate(spec: Spec, examples: int) -> DefaultGate | None:
    """Return the default condition of a move; None if no metric of the spec can judge it.

    Where so few held-out examples could not show the margin whatever the models answer, the scores
    are compared as they are.

    Args:
        spec: The spec.
        examples: Number of held-out examples.
    """
    metrics = list(_judging(spec))
    if not metrics:
        return None
    name, metric = metrics[0]
    plain = _condition(name, metric)
    needed = fewest_examples(-MARGIN, LEVEL / 100, is_difference=True) or 0
    if not metric.is_proportion or examples >= needed:
        return DefaultGate(condition=f"{plain} @ {LEVEL}%")
    shown = _shown_margin(examples)
    note = (
        f"{examples:,} held-out examples cannot show a margin of {MARGIN:g} at {LEVEL}%, whatever "
        f"the models answer ({needed} could), so scores are compared as they are, and luck may decide"
    )
    if shown < 1:
        note += f"; what so few could show is a margin of {shown:g}"
    return DefaultGate(condition=plain, note=note)


def is_default_gate(gate: list[str], spec: Spec) -> bool:
    """Return True if a recorded gate is the default gate of a move of a spec, sure or not."""
    plain = (_condition(name, metric) for name, metric in _judging(spec))
    return any(gate in ([text], [f"{text} @ {LEVEL}%"]) for text in plain)


def left_build(spec: Spec, fingerprint: str, entry: Entry) -> Build | None:
    """Return the production build that a spec moves away from; None if it moves nowhere.

    A hosted model that was adopted without its training data is its own base model. Training for it
    at the same place is not a move.

    Args:
        spec: The spec.
        fingerprint: Of the build that it asks for.
        entry: What is recorded of the fine-tune.
    """
    production = entry.builds.get(entry.production or "")
    if production is None or fingerprint == production.fingerprint or spec.lifecycle.pin:
        return None
    is_its_own_base = production.base_model == production.model_id
    has_other_base = not (_has_same_base(spec, production) or is_its_own_base)
    return production if production.backend != spec.place or has_other_base else None


def _has_same_base(spec: Spec, production: Build) -> bool:
    if spec.parent is not None and production.parent is not None:
        # The next build of the same fine-tune is not another base model.
        return spec.parent.finetune == production.parent.finetune
    return production.base_model == spec.base_name


def implied_gate(spec: Spec, fingerprint: str, entry: Entry, examples: int) -> list[str] | None:
    """Return the gate by which a build is judged though its spec writes none; None without one.

    A build that was judged keeps its gate: an upgrade changes no verdict, and neither does the
    promotion, after which the spec moves nowhere any more.

    Args:
        spec: The spec as written.
        fingerprint: Of the build that it asks for.
        entry: What is recorded of the fine-tune.
        examples: Number of held-out examples.
    """
    if spec.gate or spec.allows_worse:
        return None
    recorded = recorded_gate(fingerprint, entry)
    if left_build(spec, fingerprint, entry) is None:
        is_default = bool(recorded) and is_default_gate(list(recorded or ()), spec)
        return recorded if is_default else None
    if recorded == []:
        return None
    gate = default_gate(spec, examples)
    return None if gate is None else [gate.condition]


def recorded_gate(fingerprint: str, entry: Entry) -> list[str] | None:
    """Return the gate that a recorded build was judged by; None if it was not judged yet."""
    build = entry.builds.get(fingerprint)
    verdict = build.verdict if build is not None else None
    return None if verdict is None else list(verdict.gate)


def with_gate(spec: Spec, gate: list[str]) -> Spec:
    """Return a spec as if it had written a gate that compares with production."""
    asked = spec.evaluation
    if PRODUCTION not in asked.roles:
        compared = [*asked.compare_to, PRODUCTION]
        asked = asked.model_copy(update={"compare_to": compared})
    return spec.model_copy(update={"gate": gate, "evaluation": asked})


def _judging(spec: Spec) -> Iterator[tuple[str, AnyMetric]]:
    """Yield the metrics that can judge a move, in the order of the spec."""
    for one in spec.evaluation.metrics:
        has_ends = one.metric.is_proportion or one.metric.full_score is not None
        if has_ends and one.metric.judge is None and one.metric.sheet is None:
            yield one.name, one.metric


def _condition(name: str, metric: AnyMetric) -> str:
    margin = MARGIN * (1.0 if metric.is_proportion else metric.full_score or 1.0)
    operator, sign = (">=", "-") if metric.higher_is_better else ("<=", "+")
    return f"{name} {operator} {PRODUCTION}.{name} {sign} {margin:g}"


def _shown_margin(examples: int) -> float:
    """Return the smallest margin, in hundredths, that so many examples can show; 1 for none."""
    for hundredths in range(1, 100):
        needed = fewest_examples(-hundredths / 100, LEVEL / 100, is_difference=True)
        if needed is not None and needed <= examples:
            return hundredths / 100
    return 1.0
