"""Rules for inputs without a recorded build: a job is found, refused or submitted. Pure."""

from collections.abc import Iterable

from backends.contract.jobs import JobState, Memory
from controller.plan.actions import Adopt, Blocked, BlockReason, Train
from controller.plan.budget import exceeds
from controller.plan.desired import ParentBuild
from controller.plan.fingerprint import diff_inputs
from controller.plan.job_steps import joinable, next_attempt
from controller.plan.moving.rows import cannot_judge, changed_fields
from controller.plan.state import State
from controller.render.text import as_written, hours_text, most_dollars


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
        hosting=state.overview.observed.hosting.get(state.desired.spec.place),
        cancels=state.cancels,
        replaces=state.entry.production,
    )


def keep_unjudged_home(state: State) -> Blocked | None:
    """Stop a move that nothing can judge: production is gone, and its answers are not recorded."""
    end, move = state.overview.observed.shutdowns.get(state.name), state.desired.move
    why = cannot_judge(move, end) if state.build is None else None
    if why is None:
        return None
    where = f"in {state.desired.file}"
    remedy = (
        f"Write a gate of what can still be measured {where}, such as `gate: [accuracy >= 0.9]` or "
        "a condition on `base`, and leave `production` out of evaluation.compare_to. "
        "Or write `gate: []`, which promotes whatever is trained."
    )
    return state.blocked(BlockReason.INPUT, f"nothing can judge this move: {why}", remedy)


def keep_to_budget(state: State) -> Blocked | None:
    """Stop a job that would exceed the budget, or whose cost is unknown."""
    if state.build is not None:
        return None
    file, budget, estimate = state.desired.file, state.desired.spec.budget, state.desired.estimate
    limits = (
        ("max_usd", budget.max_usd, estimate.usd),
        ("max_gpu_hours", budget.max_gpu_hours, estimate.gpu_hours),
    )
    for key, limit, cost in limits:
        if limit is None:
            continue
        if key == "max_usd" and cost is None:
            reason = (
                f"budget.max_usd: {as_written(limit)} cannot be kept: what the job costs is unknown"
            )
            remedy = (
                f"Remove budget.max_usd from {file}, or name the base model's price in `prices` "
                "of its endpoint in ftctl.yaml."
            )
        elif key == "max_gpu_hours" and limit == 0:
            reason = "budget.max_gpu_hours: 0 allows no training"
            remedy = f"Raise it in {file}, or remove it."
        elif cost is not None and exceeds(cost[1], limit):
            is_money = key == "max_usd"
            most = most_dollars(cost[1]) if is_money else f"{hours_text(cost[1])} GPU hours"
            reason = f"up to {most} exceed budget.{key}: {as_written(limit)}"
            remedy = f"Raise budget.{key} in {file}, or train less."
        else:
            continue
        return state.blocked(BlockReason.BUDGET, reason, remedy)
    return None


def keep_to_memory(state: State) -> Blocked | None:
    """Stop a job that its device has too little memory for."""
    memory = state.desired.memory
    if state.build is not None or memory is None or not memory.problem:
        return None
    return state.blocked(BlockReason.MEMORY, memory.problem, memory.remedy)


def train(state: State) -> Train | None:
    """Submit a job."""
    if state.build is not None:
        return None
    desired, previous = state.desired, state.previous
    found = state.overview.observed.found.get(state.target, ())
    attempt = next_attempt(found, _attempt(state))
    differing = diff_inputs(previous.inputs, desired.inputs) if previous else ()
    data_change = None
    if previous is not None and previous.data.train.digest != desired.data.train.digest:
        data_change = desired.data_changes.get(previous.data.train.digest)
    if previous is None:
        reason = "no build is recorded"
    elif differing:
        fields = changed_fields(desired.move, [change.field for change in differing])
        reason = f"{', '.join(_named(fields, desired.parent))} changed"
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
        judged_against=state.judged_against,
        move=desired.move,
        production_end=state.overview.observed.shutdowns.get(state.name),
        shutdown=state.overview.observed.base_shutdowns.get(state.name, desired.shutdown),
        warnings=(*desired.warnings, *_of_the_part(desired.memory), *state.gate_warnings()),
        download_bytes=desired.base_model.download_bytes,
        parent=desired.parent,
        estimate=desired.estimate,
        hosting=state.overview.observed.hosting.get(desired.spec.place),
        memory=desired.memory,
        retrain=previous is not None,
        cancels=state.cancels,
        replaces=state.entry.production,
    )


def _of_the_part(memory: Memory | None) -> tuple[str, ...]:
    """Return the warnings about the part of a base model that is trained."""
    return () if memory is None or memory.trains is None else memory.trains.warnings


def _named(fields: Iterable[str], parent: ParentBuild | None) -> Iterable[str]:
    """Return what differs in words; of a model that another fine-tune made, whose it is."""
    if parent is None:
        return fields
    own = f"the build of {parent.finetune} in production"
    return dict.fromkeys(own if one in {"adapter", "base_model"} else one for one in fields)


def _attempt(state: State) -> int:
    return state.entry.attempt(state.target)
