"""Rules for a recorded build of the wanted inputs: how it gets into production. Pure."""

from dataclasses import replace

from backends.contract.deployments import DeploymentState
from controller.lockfile.model import Build
from controller.plan.actions import (
    Blocked,
    BlockReason,
    Deploy,
    Evaluate,
    Judge,
    Promote,
    Reuse,
)
from controller.plan.fingerprint import short_id
from controller.plan.hosting import recorded_deployment
from controller.plan.state import State
from controller.plan.verdicts import current_verdict, remedy_of, standing_verdict, why_not
from controller.plan.versions import holds
from controller.spec.model import Spec


def reuse_own(state: State) -> Reuse | None:
    """Return to a build that is not the newest one under judgement."""
    build, entry = state.build, state.entry
    if build is None:
        return None
    if state.is_production:
        is_left_behind = entry.candidate is not None
    else:
        is_left_behind = entry.candidate != state.target or state.lifecycle.pin is not None
    if entry.job is None and not is_left_behind:
        return None
    return _reuse(state, build, state.name)


def deploy(state: State) -> Deploy | None:
    """Deploy a build that is to answer, where only a deployed model answers."""
    build, observed = state.build, state.overview.observed
    hosting = observed.hosting.get(build.backend) if build is not None else None
    if build is None or hosting is None or not _is_to_answer(state, build):
        return None
    known = recorded_deployment(build)
    if build.prompt is not None or (known is None and "adopted" in build.facts):
        # Nothing was trained; or a person deployed it before ftctl knew of it.
        return None
    seen = observed.deployments.get((build.backend, build.model_id))
    if seen is None or seen.state is DeploymentState.UNKNOWN:
        if known is not None:
            return None
        reason = "it answers only after it is deployed"
    elif seen.is_written:
        return None
    elif seen.state is DeploymentState.READY:
        if known is not None and known.name == seen.name:
            return None
        reason = "its deployment is there, and is not recorded"
    elif known is not None and seen.state is DeploymentState.MISSING:
        reason = f"its deployment {known.name} is gone"
    else:
        reason = "it answers only after it is deployed"
    return Deploy(
        name=state.name,
        reason=reason,
        fingerprint=build.fingerprint,
        deployment=seen.name if seen is not None else "named after the model",
        hosting=hosting,
        replaces=state.entry.production,
        needs_approval=not (
            (seen is not None and seen.state is DeploymentState.READY)
            or hosting.usd_per_hour == 0
            or (known is None and state.has_approved_hosting(build, hosting))
        ),
    )


def _is_to_answer(state: State, build: Build) -> bool:
    """Return True if a build is to be measured, is in production, or is to be promoted."""
    if state.is_production or state.stale_evaluation(build):
        return True
    return current_verdict(build, state.desired.spec).passed


def evaluate(state: State) -> Evaluate | None:
    """Measure a build whose scores are missing or of another evaluation."""
    build = state.build
    # Without held-out examples there is nothing to measure with.
    is_measured = state.desired.spec.has_held_out
    stale = state.stale_evaluation(build) if build is not None and is_measured else ""
    if build is None or not stale:
        return None
    if build.evaluation is None:
        decides = not state.has_approved_terms(build)
    else:
        # Measuring production again switches nothing; a candidate may pass on new terms.
        decides = state.desired.paid if state.is_production else True
    return Evaluate(
        name=state.name,
        reason=stale,
        fingerprint=build.fingerprint,
        replaces=state.entry.production,
        needs_approval=decides,
        without_base=state.without_base,
    )


def judge_again(state: State) -> Judge | None:
    """Judge a build by a gate that was changed."""
    build, spec = state.build, state.desired.spec
    if build is None or state.needs_no_scores(build):
        return None
    if standing_verdict(build, spec) is not None or not spec.has_held_out:
        return None
    return Judge(
        name=state.name,
        reason="the gate was changed",
        fingerprint=build.fingerprint,
        replaces=state.entry.production,
        needs_approval=not state.is_production and current_verdict(build, spec).passed,
    )


def promote(state: State) -> Promote | None:
    """Promote a candidate that passes."""
    build, spec = state.build, state.desired.spec
    if build is None or state.is_production or not current_verdict(build, spec).passed:
        return None
    return Promote(
        name=state.name,
        reason=_why_promoted(spec),
        fingerprint=build.fingerprint,
        replaces=state.entry.production,
        needs_approval=not state.has_approved_terms(build),
    )


def _why_promoted(spec: Spec) -> str:
    if not spec.has_held_out:
        return "nothing measures it: there are no held-out examples"
    return "the gate passed" if spec.gate else "no gate is declared"


def stop_at_gate(state: State) -> Blocked | None:
    """Report a build that does not pass the gate, unless a person pinned it."""
    build = state.build
    if build is None or state.lifecycle.pin is not None:
        return None
    verdict = current_verdict(build, state.desired.spec)
    if verdict.passed:
        return None
    where = ", in production," if state.is_production else ""
    remedy = remedy_of(verdict, state.entry.production)
    return state.blocked(
        BlockReason.GATE,
        f"build {short_id(build.fingerprint)}{where} did not pass the gate: {why_not(verdict)}",
        f"{remedy[0].upper()}{remedy[1:]}",
    )


def reuse_shared(state: State) -> Reuse | None:
    """Use the build of another fine-tune with equal inputs."""
    shared = state.overview.builds.get(state.target)
    if shared is None or state.build is not None:
        return None
    source, build = shared
    return _reuse(state, build, source)


def reuse_early(state: State) -> Reuse | None:
    """Use a build that was trained for a pull request before its merge."""
    early = state.overview.observed.early.get(state.target)
    if early is None or state.build is not None:
        return None
    action = _reuse(state, early.build, early.name, keeps=_holds_here(state, early.build))
    before = f"already trained before the merge, for pull request {early.pull}"
    return replace(action, reason=f"{before}, on {early.build.finished[:10]}", early=early)


def _reuse(state: State, build: Build, source: str, *, keeps: bool | None = None) -> Reuse:
    if keeps is None:
        keeps = source == state.name or _holds_here(state, build)
    spec = state.desired.spec
    is_current = keeps and not (spec.has_held_out and state.stale_evaluation(build))
    passes = is_current and current_verdict(build, spec).passed
    # A pin is a person's decision about production; the gate is for builds nobody chose.
    goes_live = state.lifecycle.pin is not None or state.is_production
    owner = "" if source == state.name else f" for {source}"
    return Reuse(
        name=state.name,
        reason=f"these inputs were trained before{owner}, on {build.finished[:10]}",
        fingerprint=build.fingerprint,
        source=source,
        promote=goes_live or passes,
        keeps_scores=keeps,
        cancels=state.cancels,
        replaces=state.entry.production,
        elsewhere=state.overview.observed.absent.get((build.backend, build.model_id)),
    )


def _holds_here(state: State, build: Build) -> bool:
    """Return True if another fine-tune's scores of a build hold for this one as well."""
    evaluation = build.evaluation
    return (
        evaluation is not None
        and holds(evaluation, state.desired)
        and evaluation.production_build in {None, state.entry.production}
    )
