"""Conditions for production: parse them, and judge recorded scores by them. Pure.

A condition is `METRIC OP VALUE`: `accuracy >= 0.8`, `held_out_loss < base.held_out_loss - 0.5`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.evaluate.metrics import held_out_loss
from controller.spec.conditions import COMPARISONS, Grammar

COMPARED = ("base", "production")
CANDIDATE = "candidate"
LOSS = held_out_loss.METRIC.name
RULE = f"{LOSS} <= base.{LOSS}"
"""Condition of every spec, unless it allows a worse model; skipped if a loss is unknown."""
GRAMMAR = Grammar(
    form="METRIC >= NUMBER, or METRIC >= base.METRIC + NUMBER (operators: >= <= > < ==)",
    operators=(">=", "<=", ">", "<", "=="),
    longest=1_000,
)
_METRIC = r"[a-z_][a-z0-9_]*"
_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+)"
_NAME = re.compile(_METRIC)
_LIMIT = re.compile(
    rf"(?P<number>-?{_NUMBER})|(?P<model>{'|'.join(COMPARED)})\.(?P<other>{_METRIC})"
    rf"(?:\s*(?P<sign>[-+])\s*(?P<offset>{_NUMBER}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One parsed condition: `metric operator (model.other +) offset`."""

    text: str
    metric: str
    operator: str
    model: str | None
    """`base` or `production`, or None when the metric is compared with a number."""
    other: str | None
    offset: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The outcome of a gate."""

    failures: tuple[str, ...]
    """One sentence for each condition that does not hold."""

    @property
    def passed(self) -> bool:
        """True if every condition holds."""
        return not self.failures


def parse_condition(text: str) -> Condition:
    """Parse one condition.

    Raises:
        InvalidValue: The text is not a condition.
    """
    metric, sign, value = GRAMMAR.split(text)
    if not _NAME.fullmatch(metric.text):
        raise GRAMMAR.error(text, metric, "a metric")
    match = _LIMIT.fullmatch(value.text)
    if match is None:
        raise GRAMMAR.error(text, value, "a number, base.METRIC or production.METRIC")
    return Condition(
        text=text.strip(),
        metric=metric.text,
        operator=sign.text,
        model=match["model"],
        other=match["other"],
        offset=float(match["number"] or f"{match['sign'] or ''}{match['offset'] or 0}"),
    )


def judge(
    gate: Sequence[str],
    scores: Mapping[str, Mapping[str, float]],
    *,
    allows_worse: bool = False,
) -> Judgement:
    """Judge recorded scores.

    Args:
        gate: The conditions.
        scores: By model (`candidate`, `base`, `production`), then by metric.
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
