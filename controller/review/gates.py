"""Gates before and after, and the verdict that recorded scores let foresee. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from controller.evaluate.judgement import evidence_of, judge
from controller.lockfile.model import Build, Entry
from controller.plan.actions import Action, Judge, Promote, Reuse
from controller.plan.actions.building import BuildingAction
from controller.plan.desired import Desired
from controller.plan.fingerprint import short_id
from controller.plan.verdicts import current_verdict, why_not
from controller.plan.versions import holds
from controller.render.comment.facts import GateChange
from controller.spec.evaluation import PRODUCTION
from controller.spec.model import Spec


def gate_change(action: Action, desired: Desired, entry: Entry, old: Spec | None) -> GateChange:
    """Return the gate of a fine-tune, before and after.

    Args:
        action: The action that is planned for it.
        desired: What its spec asks for.
        entry: What is recorded of it.
        old: Its spec at the base commit; None if it was not there.
    """
    change = GateChange(
        old=None if old is None else tuple(old.gate),
        new=tuple(desired.spec.gate),
        allowed_worse=old is not None and old.allows_worse,
        allows_worse=desired.spec.allows_worse,
    )
    foreseen = _foreseen(action, desired, entry, changed=change.is_changed)
    return replace(change, foreseen=foreseen)


def _foreseen(action: Action, desired: Desired, entry: Entry, *, changed: bool) -> str:
    """Return what recorded scores tell: of the build itself, or of production under a new gate."""
    if isinstance(action, Judge | Promote | Reuse):
        build = entry.builds.get(action.fingerprint)
        if build is None or build.evaluation is None or not holds(build.evaluation, desired):
            return ""
        verdict = current_verdict(build, desired.spec)
        outcome = "passes" if verdict.passed else f"does not pass: {why_not(verdict)}"
        return f"By its recorded scores, build {short_id(build.fingerprint)} {outcome}."
    production = entry.builds.get(entry.production or "")
    if production is None or not (changed and isinstance(action, BuildingAction)):
        return ""
    return _of_production(production, desired)


def _of_production(build: Build, desired: Desired) -> str:
    """Return how the build in production would fare under a new gate, as a hint at its level."""
    evaluation = build.evaluation
    if evaluation is None:
        return ""
    # What compares with production itself says nothing about production.
    gate = [one.text for one in desired.conditions if one.model != PRODUCTION]
    measured = evaluation.scores.get("candidate", {})
    known = [one.text for one in desired.conditions if one.metric in measured]
    gate = [text for text in gate if text in known]
    if not gate:
        return ""
    return _fares(build, gate, desired)


def _fares(build: Build, gate: Sequence[str], desired: Desired) -> str:
    evidence = evidence_of(build.evaluation, desired.spec.evaluation.beside_production)
    judged = judge(gate, evidence, allows_worse=True)
    failing = [*judged.failures, *judged.undecided]
    told = f"would not pass it: {'; '.join(failing)}" if failing else "would pass it"
    return (
        f"By its recorded scores, build {short_id(build.fingerprint)}, which is in production, "
        f"{told}. The new build is measured after its training."
    )
