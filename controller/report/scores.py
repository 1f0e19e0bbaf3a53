"""Scores of a build against its rivals, and the conditions of its gate. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from backends.pydantic_errors import InvalidValue
from controller.evaluate.compare import BASE_AGAIN
from controller.evaluate.gate import CANDIDATE, RETAIN, RULES, parse_condition, split_score
from controller.evaluate.judgement import Holds, evidence_of, judge
from controller.evaluate.metric import AnyMetric
from controller.evaluate.metrics import BUILT_IN_METRICS
from controller.lockfile.model import Evaluation, Scores, Verdict
from controller.report.model import (
    Difference,
    GateCondition,
    ModelScore,
    ScoreBlock,
    Tone,
    role_name,
)
from controller.report.samples import interval_of, note_of, sample_at
from controller.spec.evaluation import BASE, BASE_FEW_SHOT, PRODUCTION
from controller.spec.metrics import recorded_metric

_ORDER: Final = (CANDIDATE, PRODUCTION, BASE, BASE_FEW_SHOT)
_EQUAL: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredMetrics:
    """Metrics of one evaluation, by their names in scores."""

    by_name: Mapping[str, AnyMetric]
    labels: Sequence[str]
    """Labels that the settings of a metric declare."""


def measured_metrics(inputs: Mapping[str, Any]) -> MeasuredMetrics:
    """Return the metrics that the recorded inputs of an evaluation name."""
    by_name: dict[str, AnyMetric] = {metric.name: metric for metric in BUILT_IN_METRICS}
    labels: dict[str, None] = {}
    for name, settings in _chosen(inputs.get("metrics")):
        metric = recorded_metric(name)
        if metric is not None:
            by_name[str(settings.get("name") or name)] = metric
        declared = settings.get("labels")
        labels |= dict.fromkeys(map(str, declared) if isinstance(declared, list) else ())
    return MeasuredMetrics(by_name=by_name, labels=list(labels))


def _chosen(written: object) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for one in written if isinstance(written, list) else ():
        if isinstance(one, dict):
            yield from (
                (name, value if isinstance(value, dict) else {}) for name, value in one.items()
            )


def rivals_of(evaluation: Evaluation) -> list[str]:
    """Return the models that a build was compared with, the most important first."""
    roles = [role for role, scores in evaluation.scores.items() if scores]
    ordered = sorted(roles, key=lambda role: (_place(role), role))
    return [role for role in ordered if role not in {CANDIDATE, BASE_AGAIN}]


def _place(role: str) -> int:
    return _ORDER.index(role) if role in _ORDER else len(_ORDER)


def telling_metric(measured: MeasuredMetrics, gate: Sequence[str], scores: Scores) -> str | None:
    """Return the name of the metric that tells right from wrong.

    It is the first proportion that the gate names, or else the first one that the spec chose.
    """
    built_in = {metric.name for metric in BUILT_IN_METRICS}
    named = [split_score(name)[0] for text in gate for name in names_of(text)]
    chosen = [name for name in measured.by_name if name not in built_in]
    for name in (*named, *chosen):
        metric = measured.by_name.get(name)
        if metric is not None and metric.is_proportion and name in scores:
            return name
    return None


def conditions_of(verdict: Verdict, evaluation: Evaluation) -> list[GateCondition]:
    """Return the conditions of a verdict, and whether each held."""
    texts = dict.fromkeys(text.strip() for text in verdict.gate)
    for rule in RULES:
        if any(failure.startswith(f"{rule}:") for failure in verdict.failures):
            texts[rule] = None
    now = _judged_again(verdict, evaluation)
    return [_condition(text, verdict, now.get(text, "")) for text in texts]


def _condition(text: str, verdict: Verdict, sentence: str) -> GateCondition:
    holds = Holds.YES
    for kind, sentences in ((Holds.NO, verdict.failures), (Holds.CANNOT_TELL, verdict.undecided)):
        for one in sentences:
            if one.startswith(f"{text}:"):
                holds, sentence = kind, one
    found = sentence.removeprefix(f"{text}:").strip().removeprefix(f"{holds}: ")
    return GateCondition(text=text, holds=holds, sentence=found)


def _judged_again(verdict: Verdict, evaluation: Evaluation) -> dict[str, str]:
    """Return the sentences of the conditions that hold, which a verdict does not record."""
    try:
        judgement = judge(verdict.gate, evidence_of(evaluation))
    except InvalidValue:
        # Recorded by another version of the language.
        return {}
    return {
        one.condition.text: one.sentence for one in judgement.conditions if one.holds is Holds.YES
    }


def score_blocks(
    evaluation: Evaluation, measured: MeasuredMetrics, conditions: Sequence[GateCondition]
) -> list[ScoreBlock]:
    """Return a block for each score; those of the gate come first."""
    named = {one.text: names_of(one.text) for one in conditions}
    order = list(dict.fromkeys(name for names in named.values() for name in names))
    scores = evaluation.scores[CANDIDATE]
    names = [*(name for name in order if name in scores), *(n for n in scores if n not in order)]
    return [
        _block(name, evaluation, measured, [one for one in conditions if name in named[one.text]])
        for name in names
    ]


def is_retained(block: ScoreBlock) -> bool:
    """Return True if a score measures an ability that tuning must not break."""
    return block.name.startswith(RETAIN)


def noise_of(evaluation: Evaluation) -> list[ModelScore]:
    """Return by how much the scores of the base model differ when it is asked twice."""
    first, again = (evaluation.scores.get(role, {}) for role in (BASE, BASE_AGAIN))
    return [
        ModelScore(role=name, name=name, value=abs(again[name] - number))
        for name, number in first.items()
        if name in again
    ]


def names_of(condition: str) -> Sequence[str]:
    """Return the names of the scores that a condition compares, the candidate's first."""
    try:
        return parse_condition(condition).scores
    except InvalidValue:
        # Recorded by another version of the language.
        return ()


def _block(
    name: str,
    evaluation: Evaluation,
    measured: MeasuredMetrics,
    conditions: Sequence[GateCondition],
) -> ScoreBlock:
    metric = measured.by_name.get(split_score(name)[0])
    higher = metric.higher_is_better if metric else None
    if metric is None and name.startswith(RETAIN):
        higher = True
    return ScoreBlock(
        name=name,
        description=metric.description if metric else "",
        unit=metric.unit if metric else "",
        higher_is_better=higher,
        is_proportion=metric.is_proportion if metric else name.startswith(RETAIN),
        rows=_rows(name, evaluation, higher_is_better=higher),
        conditions=conditions,
    )


def _rows(name: str, evaluation: Evaluation, *, higher_is_better: bool | None) -> list[ModelScore]:
    evidence = evidence_of(evaluation)
    ours = evaluation.scores[CANDIDATE][name]
    rows = []
    for role in (CANDIDATE, *rivals_of(evaluation)):
        value = evaluation.scores[role].get(name)
        if value is None:
            continue
        lead, sample = ours - value, sample_at(evidence.samples, role, name)
        difference = Difference(
            value=lead,
            tone=_tone(lead, higher_is_better=higher_is_better),
            interval=interval_of(sample_at(evidence.differences, role, name)),
        )
        rows.append(
            ModelScore(
                role=role,
                name=role_name(role),
                value=value,
                interval=interval_of(sample),
                note=note_of(sample),
                difference=None if role == CANDIDATE else difference,
            )
        )
    return rows


def _tone(difference: float, *, higher_is_better: bool | None) -> Tone:
    if higher_is_better is None or abs(difference) < _EQUAL:
        return "neutral"
    return "good" if (difference > 0) == higher_is_better else "bad"
