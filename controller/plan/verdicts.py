"""Verdicts by a spec: its gate, and the rule against promoting a model worse than its base. Pure.

Recorded verdicts hold until the spec changes or the scores are measured again.
"""

from collections.abc import Mapping

from controller.evaluate.gate import LOSS, MARGIN, RULES
from controller.evaluate.judgement import evidence_of, judge
from controller.lockfile.model import Build, Evaluation, Scores, Verdict
from controller.plan.fingerprint import short_id
from controller.spec.model import Spec

_NOTHING = "Nothing is in production"


def verdict_of(spec: Spec, evaluation: Evaluation | None) -> Verdict:
    """Return the verdict of a spec's gate on what was measured."""
    gate = list(spec.gate)
    evidence = evidence_of(evaluation, spec.evaluation.beside_production)
    judgement = judge(gate, evidence, allows_worse=spec.allows_worse)
    return Verdict(
        passed=judgement.passed,
        gate=gate,
        failures=list(judgement.failures),
        undecided=list(judgement.undecided),
        allowed_worse=spec.allows_worse and not judge(gate, evidence).passed,
    )


def standing_verdict(build: Build, spec: Spec) -> Verdict | None:
    """Return a build's recorded verdict; None if the spec's gate has changed since."""
    verdict = build.verdict
    if verdict is None or verdict.gate != list(spec.gate):
        return None
    if spec.allows_worse and not verdict.passed:
        return None
    return None if verdict.allowed_worse and not spec.allows_worse else verdict


def current_verdict(build: Build, spec: Spec) -> Verdict:
    """Return a build's recorded verdict, or the current gate's verdict on its recorded scores."""
    return standing_verdict(build, spec) or verdict_of(spec, build.evaluation)


def remedy_of(verdict: Verdict, production: str | None) -> str:
    """Return what is in production instead of a candidate that did not pass, and the remedy."""
    stays = f"{short_id(production)} stays in production" if production else _NOTHING
    if not verdict.failures:
        return f"{stays}. Hold out more examples, or ask to be less sure."
    remedy = f"{stays}. Change the spec, its data, or the gate."
    if any(failure.startswith(RULES) for failure in verdict.failures):
        remedy += " To promote a model that is worse than its base, write `gate: []`."
    return remedy


def why_not(verdict: Verdict) -> str:
    """Return why a candidate did not pass: what fails, and what the examples cannot tell."""
    return "; ".join([*verdict.failures, *verdict.undecided])


def is_unguarded(spec: Spec, scores: Mapping[str, Scores]) -> bool:
    """Return True if nothing was compared: no gate, and no loss or margin of the base model."""
    return (
        not (spec.gate or spec.allows_worse) and not {LOSS, MARGIN} & scores.get("base", {}).keys()
    )
