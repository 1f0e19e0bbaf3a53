"""Verdicts by a spec: its gate, and the rule that no model worse than its base is promoted. Pure.

Recorded verdicts stand until the spec says something else, or the scores are measured again.
"""

from collections.abc import Mapping, Sequence

from controller.evaluate.gate import LOSS, RULE, judge
from controller.lock.model import Build, Scores, Verdict
from controller.spec.model import Spec


def verdict_of(spec: Spec, scores: Mapping[str, Scores]) -> Verdict:
    """Return what a spec's gate makes of scores."""
    gate = list(spec.gate)
    judgement = judge(gate, scores, allows_worse=spec.allows_worse)
    return Verdict(
        passed=judgement.passed,
        gate=gate,
        failures=list(judgement.failures),
        allowed_worse=spec.allows_worse and not judge(gate, scores).passed,
    )


def standing_verdict(build: Build, spec: Spec) -> Verdict | None:
    """Return a build's recorded verdict; None where the spec says something else by now."""
    verdict = build.verdict
    if verdict is None or verdict.gate != list(spec.gate):
        return None
    if spec.allows_worse and not verdict.passed:
        return None
    return None if verdict.allowed_worse and not spec.allows_worse else verdict


def current_verdict(build: Build, spec: Spec) -> Verdict:
    """Return a build's recorded verdict, or the one that its recorded scores give now."""
    scores = build.evaluation.scores if build.evaluation is not None else {}
    return standing_verdict(build, spec) or verdict_of(spec, scores)


def remedy_of(failures: Sequence[str]) -> str:
    """Return what a person can do about a candidate that is not promoted."""
    remedy = "Change the spec, its data, or the gate."
    if any(failure.startswith(RULE) for failure in failures):
        remedy += " To promote a model that is worse than its base, write `gate: []`."
    return remedy


def is_unguarded(spec: Spec, scores: Mapping[str, Scores]) -> bool:
    """Return whether nothing was compared: no gate, and no loss of the base model."""
    return not (spec.gate or spec.allows_worse) and LOSS not in scores.get("base", {})
