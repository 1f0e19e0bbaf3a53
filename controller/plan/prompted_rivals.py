"""Rivals without training that pass the gate, or do as well as a trained model. Pure.

A rival is judged as the candidate was: by the same conditions, on what the evaluation recorded of
it. Conditions that name the rival itself ask the candidate to beat it, and are left out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from controller.evaluate.gate import CANDIDATE, parse_condition
from controller.evaluate.judgement import Evidence, Holds, Judged, evidence_of, judge
from controller.evaluate.metric import AnyMetric
from controller.evaluate.metrics import BUILT_IN_METRICS
from controller.lockfile.model import Entry, Evaluation, Lockfile
from controller.plan.desired import Desired
from controller.plan.versions import holds
from controller.spec.evaluation import Rival
from controller.spec.model import Spec

SURE: Final = 0.95
"""Level at which training must have shown an advantage."""


class _Gate(Enum):
    PASSES = auto()
    FAILS = auto()
    CANNOT_TELL = auto()
    NONE = auto()
    """No condition is declared that concerns the rival."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """Comparison of a rival with the candidate."""

    gate: _Gate
    why: str
    """First condition that fails, or cannot be told."""
    is_beaten: bool
    """True if the candidate is surely better."""
    wins: bool
    """True if the rival is surely better."""
    scores: str
    """The first score that the gate names: of the rival, and of the candidate."""


def prompt_notes(desired: Mapping[str, Desired], recorded: Lockfile) -> Iterator[str]:
    """Yield a line for each fine-tune whose newest measured build need not have been trained."""
    for name, one in desired.items():
        entry = recorded.finetunes.get(name, Entry())
        build = entry.builds.get(entry.candidate or entry.production or "")
        evaluation = build.evaluation if build is not None else None
        if evaluation is not None and holds(evaluation, one):
            yield from (f"{name}: {text}" for text in as_good(one.spec, evaluation))


def as_good(spec: Spec, evaluation: Evaluation) -> Iterator[str]:
    """Yield a text for each rival that makes training unnecessary, with the spec to write instead.

    A rival makes it unnecessary if it passes the same gate, or if the candidate is not shown to be
    better by the first score that the gate names, else by the spec's first metric.
    """
    if not spec.trains:
        return
    for rival in spec.evaluation.rivals.values():
        finding = _compare(spec, rival.name, evaluation)
        if finding is None:
            continue
        declared = f" To declare it, write in the spec: {_spec_to_write(spec, rival)}"
        match finding.gate:
            case _Gate.PASSES if not finding.is_beaten:
                shown = "is better" if finding.wins else "this build is not shown to be better"
                yield (
                    f"no training is needed: {rival.name} passes the same gate, and {shown}: "
                    f"{finding.scores}.{declared}"
                )
            case _Gate.PASSES:
                yield (
                    f"no training is needed for this gate: {rival.name} passes it too. This build "
                    f"is better, though: {finding.scores}.{declared}"
                )
            case _ if finding.is_beaten:
                continue
            case _Gate.NONE:
                yield f"{_as_well(rival)}: {finding.scores}.{declared}"
            case _Gate.CANNOT_TELL:
                yield (
                    f"{_as_well(rival)}: {finding.scores}. Whether {rival.name} passes the gate "
                    f"cannot be told ({finding.why}).{declared}"
                )
            case _:
                yield (
                    f"{_as_well(rival)}: {finding.scores}. But {rival.name} does not pass the gate "
                    f"either ({finding.why})"
                )


def pairs_to_record(spec: Spec) -> Iterator[tuple[str, str, str]]:
    """Yield the rival, other model and score of each difference that judging a rival needs.

    A condition with a level (`@ 95%`) is judged by the difference of two models, example by example.
    """
    for condition in map(parse_condition, spec.gate):
        if condition.level is None or condition.model is None:
            continue
        for rival in spec.evaluation.rivals:
            if rival != condition.model:
                yield rival, condition.model, condition.metric


def _compare(spec: Spec, rival: str, evaluation: Evaluation) -> _Finding | None:
    """Return how a rival compares with the candidate; None if it was not measured."""
    name, metric = _decisive(spec)
    theirs = evaluation.scores.get(rival, {}).get(name)
    ours = evaluation.scores[CANDIDATE].get(name)
    record = evaluation.differences.get(rival, {}).get(name)
    if theirs is None or ours is None or record is None:
        return None
    low, high = record.sample.interval(SURE)
    least, most = (low, high) if metric.higher_is_better else (high, low)
    is_beaten = least is not None and least != 0 and (least > 0) == metric.higher_is_better
    wins = most is not None and most != 0 and (most < 0) == metric.higher_is_better
    between = ""
    if low is not None and high is not None:
        between = f"; the difference is between {low:.4g} and {high:.4g}"
    gate, why = _judged(spec, rival, evaluation)
    scores = f"{rival} has {name} {theirs:.4g}, this build {ours:.4g}{between}"
    return _Finding(gate=gate, why=why, is_beaten=is_beaten, wins=wins, scores=scores)


def _judged(spec: Spec, rival: str, evaluation: Evaluation) -> tuple[_Gate, str]:
    """Return whether a rival passes the gate, and why not."""
    gate = [text for text in spec.gate if parse_condition(text).model != rival]
    if not gate:
        return _Gate.NONE, ""
    evidence = _as_candidate(rival, evaluation, evidence_of(evaluation))
    judgement = judge(gate, evidence, allows_worse=spec.allows_worse)
    unknown = [one for one in judgement.conditions if _is_unknown(one, evidence)]
    failing = [one for one in judgement.conditions if one.holds is Holds.NO and one not in unknown]
    if failing:
        return _Gate.FAILS, failing[0].sentence
    if unknown:
        return _Gate.CANNOT_TELL, unknown[0].sentence
    return _Gate.PASSES, ""


def _is_unknown(judged: Judged, evidence: Evidence) -> bool:
    """Return True if the examples cannot tell, or the score was not measured for a rival."""
    measured = judged.condition.metric in evidence.scores[CANDIDATE]
    return judged.holds is Holds.CANNOT_TELL or (judged.holds is Holds.NO and not measured)


def _as_candidate(rival: str, evaluation: Evaluation, evidence: Evidence) -> Evidence:
    """Return the evidence that there would be if a rival were the candidate."""
    differences = {
        other: {name: one.sample for name, one in by_name.items()}
        for other, by_name in evaluation.rival_differences.get(rival, {}).items()
    }
    return replace(
        evidence,
        scores={**evidence.scores, CANDIDATE: evidence.scores.get(rival, {})},
        samples={**evidence.samples, CANDIDATE: evidence.samples.get(rival, {})},
        differences=differences,
    )


def _as_well(rival: Rival) -> str:
    what = (
        "a prompt does" if rival.prompt is not None or rival.few_shot else "a model as it is does"
    )
    return f"{what} as well; training may not pay"


def _spec_to_write(spec: Spec, rival: Rival) -> str:
    """Return the keys of the spec in which the rival is the fine-tune, and the keys to remove."""
    place = rival.place(spec.place)
    backend, _, endpoint = place.partition("@")
    written = ["method: prompt"]
    removed = _untrained_keys(spec)
    if place != spec.place:
        written.append(f"backend: {_yaml(backend)}")
        if endpoint:
            written.append(f"endpoint: {_yaml(endpoint)}")
        elif spec.endpoint is not None:
            removed.append("endpoint")
    if rival.model is not None:
        written.append(f"base_model: {_yaml(rival.model)}")
        removed += ["revision"] if spec.revision is not None else []
    prompt = [f"system: {_yaml(rival.prompt)}"] if rival.prompt is not None else []
    prompt += [f"few_shot: {rival.few_shot}"] if rival.few_shot else []
    if prompt:
        written.append(f"prompt: {{{', '.join(prompt)}}}")
    keys = ", ".join(f"`{one}`" for one in written)
    without = ", ".join(f"`{one}`" for one in removed)
    return f"{keys}{f'; and remove {without}' if removed else ''}"


def _untrained_keys(spec: Spec) -> list[str]:
    """Return the keys of a spec that have no meaning without training."""
    given = spec.model_dump(exclude_defaults=True, include={"seed", "tracking", "budget"})
    return [*(["hyperparameters"] if spec.hyperparameters else []), *given]


def _yaml(text: str) -> str:
    """Return a text as YAML: JSON is YAML."""
    return json.dumps(text, ensure_ascii=False)


def _decisive(spec: Spec) -> tuple[str, AnyMetric]:
    """Return the name and the metric of the score by which models are compared first."""
    metrics: dict[str, AnyMetric] = {one.name: one.metric for one in spec.evaluation.metrics}
    metrics |= {metric.name: metric for metric in BUILT_IN_METRICS}
    gated: Sequence[str] = [parse_condition(text).metric for text in spec.gate]
    name = next(one for one in [*gated, *metrics] if one in metrics)
    return name, metrics[name]
