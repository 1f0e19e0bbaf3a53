"""A gate's judgement on recorded scores. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.evaluate.gate import CANDIDATE, LOSS, RULE, Condition, parse_condition
from controller.spec.conditions import COMPARISONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The outcome of a gate."""

    failures: tuple[str, ...]
    """One sentence for each condition that does not hold."""

    @property
    def passed(self) -> bool:
        """True if every condition holds."""
        return not self.failures


def judge(
    gate: Sequence[str],
    scores: Mapping[str, Mapping[str, float]],
    *,
    allows_worse: bool = False,
) -> Judgement:
    """Judge recorded scores.

    Args:
        gate: The conditions.
        scores: By model (`candidate`, `base`, `production`, rivals), then by metric.
        allows_worse: True if a candidate may have a higher held-out loss than its base model.

    Returns:
        Conditions that do not hold. A condition on `production` holds while there is no production.
    """
    measured = all(LOSS in scores.get(model, {}) for model in (CANDIDATE, "base"))
    conditions = dict.fromkeys([*gate, *([RULE] if measured and not allows_worse else [])])
    sentences = (_failure(parse_condition(text), scores) for text in conditions)
    return Judgement(failures=tuple(sentence for sentence in sentences if sentence))


def _failure(condition: Condition, scores: Mapping[str, Mapping[str, float]]) -> str:
    score = scores.get(CANDIDATE, {}).get(condition.metric)
    if score is None:
        return f"{condition.text}: {condition.metric} was not measured"
    limit, against = condition.offset, ""
    if condition.model is not None and condition.other is not None:
        if condition.model == "production" and "production" not in scores:
            return ""
        other = scores.get(condition.model, {}).get(condition.other)
        if other is None:
            return f"{condition.text}: {condition.model}.{condition.other} was not measured"
        limit += other
        against = f" ({condition.model}.{condition.other} is {other:.4g})"
    if COMPARISONS[condition.operator](score, limit):
        return ""
    return f"{condition.text}: {condition.metric} is {score:.4g}{against}"
