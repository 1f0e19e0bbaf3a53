"""A gate's judgement on recorded scores. Pure.

A condition without a level compares the scores as they are. One with a level (`@ 95%`) holds if
the examples show it that surely, fails if they show the opposite, and cannot be told otherwise.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from controller.evaluate.gate import (
    CANDIDATE,
    LOSS,
    MARGIN,
    PREFERENCE_RULE,
    RULE,
    Condition,
    parse_condition,
    split_score,
)
from controller.evaluate.statistics.decide import Claim, Decision, Outcome, decide
from controller.evaluate.statistics.samples import Sample, few_groups_warning
from controller.lockfile.model import Evaluation
from controller.spec.conditions import COMPARISONS
from controller.spec.evaluation import PRODUCTION

_NO_SAMPLE = Sample(n=0, reason="how sure it is was not recorded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything recorded of an evaluation that a gate is judged by."""

    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By model (`candidate`, `base`, `production`, rivals), then by name."""
    samples: Mapping[str, Mapping[str, Sample]] = field(default_factory=dict)
    """The same keys."""
    differences: Mapping[str, Mapping[str, Sample]] = field(default_factory=dict)
    """The candidate's score minus that of another model, by that model."""
    beside_production: Collection[str] = ()
    """Metrics whose scores compare the candidate's answers with those of production."""


class Holds(StrEnum):
    """Outcome of a condition."""

    YES = "holds"
    NO = "does not hold"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One condition as judged."""

    condition: Condition
    holds: Holds
    sentence: str
    """The condition, and why."""
    decision: Decision | None = None
    """For a condition with a level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The outcome of a gate."""

    conditions: tuple[Judged, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """One sentence for each condition that does not hold."""
        return self._sentences(Holds.NO)

    @property
    def undecided(self) -> tuple[str, ...]:
        """One sentence for each condition of which the examples cannot tell if it holds."""
        return self._sentences(Holds.CANNOT_TELL)

    @property
    def passed(self) -> bool:
        """True if every condition holds."""
        return all(one.holds is Holds.YES for one in self.conditions)

    def _sentences(self, holds: Holds) -> tuple[str, ...]:
        return tuple(one.sentence for one in self.conditions if one.holds is holds)


def evidence_of(evaluation: Evaluation | None, beside_production: Collection[str] = ()) -> Evidence:
    """Return what is recorded of an evaluation; nothing without one.

    Args:
        evaluation: The evaluation.
        beside_production: As of `Evidence`.
    """
    if evaluation is None:
        return Evidence()
    return Evidence(
        scores=evaluation.scores,
        samples={
            role: {name: one.sample for name, one in by_name.items()}
            for role, by_name in evaluation.samples.items()
        },
        differences={
            role: {name: one.sample for name, one in by_name.items()}
            for role, by_name in evaluation.differences.items()
        },
        beside_production=beside_production,
    )


def judge(gate: Sequence[str], evidence: Evidence, *, allows_worse: bool = False) -> Judgement:
    """Judge recorded scores.

    A condition on `production` holds while there is no production.

    Args:
        gate: The conditions.
        evidence: What was measured.
        allows_worse: True if a candidate may be worse than its base model.
    """
    rule = None if allows_worse else rule_of(evidence.scores)
    texts = dict.fromkeys([*gate, *([] if rule is None else [rule])])
    conditions = [parse_condition(text) for text in texts]
    claims = {one.text: claim for one in conditions if (claim := _claim(one, evidence)) is not None}
    decisions = dict(zip(claims, decide(list(claims.values())), strict=True))
    judged = (
        _judged(one, evidence, claims.get(one.text), decisions.get(one.text)) for one in conditions
    )
    return Judgement(conditions=tuple(judged))


def rule_of(scores: Mapping[str, Mapping[str, float]]) -> str | None:
    """Return the condition that compares a candidate with its base model.

    It is the preference margin where that was measured, or else the held-out loss; None if neither
    was measured of both models.
    """
    for name, rule in ((MARGIN, PREFERENCE_RULE), (LOSS, RULE)):
        if all(name in scores.get(model, {}) for model in (CANDIDATE, "base")):
            return rule
    return None


def _claim(condition: Condition, evidence: Evidence) -> Claim | None:
    """Return what a condition with a level claims; None if there is nothing to decide."""
    if condition.level is None or _missing(condition, evidence) is not None:
        return None
    model = condition.model
    known = (
        evidence.samples.get(CANDIDATE, {})
        if model is None
        else evidence.differences.get(model, {})
    )
    return Claim(
        sample=known.get(condition.metric, _NO_SAMPLE),
        threshold=condition.offset,
        level=condition.level / 100,
        below=condition.operator in {"<", "<="},
        is_difference=model is not None,
    )


def _missing(condition: Condition, evidence: Evidence) -> str | None:
    """Return what a condition names that was not measured; empty if it holds without; or None."""
    scores = evidence.scores
    if PRODUCTION not in scores and split_score(condition.metric)[0] in evidence.beside_production:
        return ""
    if condition.metric not in scores.get(CANDIDATE, {}):
        return f"{condition.metric} was not measured"
    if condition.model is None or condition.other is None:
        return None
    if condition.model == PRODUCTION and PRODUCTION not in scores:
        return ""
    if condition.other not in scores.get(condition.model, {}):
        return f"{condition.model}.{condition.other} was not measured"
    return None


def _judged(
    condition: Condition, evidence: Evidence, claim: Claim | None, decision: Decision | None
) -> Judged:
    missing = _missing(condition, evidence)
    if missing is not None:
        holds = Holds.NO if missing else Holds.YES
        return Judged(condition=condition, holds=holds, sentence=f"{condition.text}: {missing}")
    score = evidence.scores[CANDIDATE][condition.metric]
    limit, against = condition.offset, ""
    if condition.model is not None and condition.other is not None:
        other = evidence.scores[condition.model][condition.other]
        limit = _sum(limit, other)
        against = f" ({condition.model}.{condition.other} is {other:.4g})"
    found = f"{condition.metric} is {score:.4g}{against}"
    if claim is None or decision is None:
        holds = Holds.YES if COMPARISONS[condition.operator](score, limit) else Holds.NO
        return Judged(condition=condition, holds=holds, sentence=f"{condition.text}: {found}")
    holds = Holds.YES if decision.holds else Holds.NO
    if decision.outcome is Outcome.CANNOT_TELL:
        holds = Holds.CANNOT_TELL
    said = "; ".join([f"{decision.outcome}: {found}", *_how_sure(claim, decision)])
    return Judged(
        condition=condition,
        holds=holds,
        sentence=f"{condition.text}: {said}",
        decision=decision,
    )


def _sum(one: float, other: float) -> float:
    """Return the sum of two numbers as they are written: that of 0.1 and 0.2 is 0.3."""
    return float(Decimal(repr(float(one))) + Decimal(repr(float(other))))


def _how_sure(claim: Claim, decision: Decision) -> Iterator[str]:
    """Yield what the examples say about a claim."""
    sample = claim.sample
    if sample.reason is not None:
        yield sample.reason
        return
    what = "the difference" if claim.is_difference else "the score"
    low, high = sample.interval(claim.level)
    if low is not None and high is not None:
        yield f"{what} is between {low:.4g} and {high:.4g} at {claim.level * 100:g}%"
    if decision.needed is not None:
        yield f"about {decision.needed:,} examples would do"
    warning = few_groups_warning(sample)
    if warning is not None:
        yield warning.rstrip(".")
