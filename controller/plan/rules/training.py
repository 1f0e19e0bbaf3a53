"""Rules for inputs without a recorded build: a job is found, refused or submitted. Pure."""

from collections.abc import Iterator

from backends.contract.jobs import JobState
from controller.lockfile.model import Build
from controller.plan.actions import Adopt, Blocked, BlockReason, Train
from controller.plan.fingerprint import diff_inputs, short_id
from controller.plan.job_steps import joinable, next_attempt
from controller.plan.state import State


def stop_after_failure(state: State) -> Blocked | None:
    """Stop where a job of these inputs failed in this attempt."""
    failure = state.entry.failures.get(state.target)
    if failure is None or state.build is not None or failure.attempt < _attempt(state):
        return None
    remedy = f"Change the spec, or type `ftctl retry {state.name}` for another attempt."
    return state.blocked(BlockReason.FAILURE, f"job {failure.job} {failure.error}", remedy)


def stop_without_answer(state: State) -> Blocked | None:
    """Stop where the backend gives no answer: training could be paid twice."""
    place = state.desired.spec.place
    if state.build is not None or place not in state.overview.observed.unreachable:
        return None
    return state.blocked_by_silence(place)


def adopt(state: State) -> Adopt | None:
    """Take over a job that was made for these inputs and is not recorded.

    A model is a model, whichever attempt made it; a failure belongs to its attempt; and a job that
    was cancelled without being recorded was not wanted then, but its attempt is used.
    """
    if state.build is not None:
        return None
    found, attempt = state.overview.observed.found.get(state.target, ()), _attempt(state)
    living = joinable(found)
    failed = [j for j in found if j.state is JobState.FAILED and j.attempt >= attempt]
    if not (living or failed):
        return None
    job = living[0] if living else failed[-1]
    return Adopt(
        name=state.name,
        reason=f"job {job.id} was already made for these inputs and has state {job.state}",
        job=job,
        cancels=state.cancels,
        replaces=state.entry.production,
    )


def keep_to_budget(state: State) -> Blocked | None:
    """Stop a job that would exceed the budget, or whose cost is unknown."""
    if state.build is not None:
        return None
    file, budget, estimate = state.desired.file, state.desired.spec.budget, state.desired.estimate
    limits = (
        ("max_usd", budget.max_usd, estimate.usd, ".2f", "US dollars"),
        ("max_gpu_hours", budget.max_gpu_hours, estimate.gpu_hours, ".2g", "GPU hours"),
    )
    for key, limit, cost, digits, unit in limits:
        if limit is None:
            continue
        if key == "max_usd" and cost is None:
            reason = f"budget.max_usd: {limit:g} cannot be kept: what the job costs is unknown"
            remedy = (
                f"Remove budget.max_usd from {file}, or name the base model's price in `prices` "
                "of its endpoint in ftctl.yaml."
            )
        elif key == "max_gpu_hours" and limit == 0:
            reason = "budget.max_gpu_hours: 0 allows no training"
            remedy = f"Raise it in {file}, or remove it."
        elif cost is not None and cost[1] > limit:
            reason = f"up to {cost[1]:{digits}} {unit} exceed budget.{key}: {limit:g}"
            remedy = f"Raise budget.{key} in {file}, or train less."
        else:
            continue
        return state.blocked(BlockReason.BUDGET, reason, remedy)
    return None


def train(state: State) -> Train | None:
    """Submit a job."""
    if state.build is not None:
        return None
    desired, previous = state.desired, _previous(state)
    found = state.overview.observed.found.get(state.target, ())
    attempt = next_attempt(found, _attempt(state))
    differing = diff_inputs(previous.inputs, desired.inputs) if previous else ()
    data_change = None
    if previous is not None and previous.data.train.digest != desired.data.train.digest:
        data_change = desired.data_changes.get(previous.data.train.digest)
    if previous is None:
        reason = "no build is recorded"
    elif differing:
        reason = f"{', '.join(change.field for change in differing)} changed"
    else:
        reason = "another attempt was asked for"
    if attempt > 1:
        reason += f"; attempt {attempt}"
    return Train(
        name=state.name,
        reason=reason,
        fingerprint=state.target,
        attempt=attempt,
        changes=differing,
        data_change=data_change,
        data=desired.data,
        judged_against=_judge_of(state, previous),
        shutdown=state.overview.observed.base_shutdowns.get(state.name, desired.shutdown),
        warnings=(*desired.warnings, *_warnings(state)),
        estimate=desired.estimate,
        retrain=previous is not None,
        cancels=state.cancels,
        replaces=state.entry.production,
    )


def _attempt(state: State) -> int:
    return state.entry.attempt(state.target)


def _previous(state: State) -> Build | None:
    """Return the build that a new one is compared with."""
    entry = state.entry
    for key in (entry.production, entry.candidate):
        if key is not None and key in entry.builds:
            return entry.builds[key]
    return max(reversed(entry.builds.values()), key=lambda build: build.finished, default=None)


def _judge_of(state: State, previous: Build | None) -> str | None:
    if previous is None or previous.fingerprint != state.entry.production:
        return None
    is_compared = "production" in state.desired.spec.evaluation.roles
    build = f"build {short_id(previous.fingerprint)} at {previous.backend}"
    return f"{'judged against ' if is_compared else ''}{build}, which stays until the gate passes"


def _warnings(state: State) -> Iterator[str]:
    spec, silent = state.desired.spec, state.without_base
    if silent is not None:
        yield f"{silent}; `base` is left out of the comparison"
        lost = [text for text in spec.gate if "base." in text]
        if lost:
            yield f"without it these conditions of the gate cannot hold: {'; '.join(lost)}"
    hours = spec.budget.max_gpu_hours
    if hours is not None and state.desired.estimate.gpu_hours is None:
        yield f"how long the job takes is not known yet: it stops after {hours:g} GPU hours"
    if spec.gate or spec.allows_worse:
        return
    why = silent and "its base model cannot be asked"
    if not state.desired.measures_loss:
        why = f"{spec.place} measures no held-out loss"
    elif "base" not in spec.evaluation.roles:
        why = "`base` is not in evaluation.compare_to"
    if why:
        yield f"no gate is declared and {why}: whatever is trained goes into production"
