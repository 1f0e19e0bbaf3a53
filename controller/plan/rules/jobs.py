"""Rules for a recorded open job. No rule here concerns a job of other inputs than the desired ones. Pure."""

from backends.contract.jobs import Job
from controller.plan.actions import Action, BlockReason, Resume, Wait
from controller.plan.job_steps import JobStep, step_of
from controller.plan.state import State, as_recorded


def report_missing(state: State) -> Action | None:
    """Decide about an open job that its backend did not show."""
    recorded, observed = state.entry.job, state.overview.observed
    if recorded is None or state.job is not None:
        return None
    place = recorded.backend
    if place in observed.skipped:
        reason = f"job {recorded.id} is recorded as open; {place} was not asked"
        return Wait(name=state.name, reason=reason, job=as_recorded(recorded))
    if place in observed.unreachable:
        return state.blocked_by_silence(place, recorded)
    remedy = (
        "Look for it at the backend. If it is gone for good: "
        f"`ftctl retry {state.name}` trains again, as a new attempt."
    )
    reason = f"job {recorded.id} is recorded, but the backend does not know it"
    return state.blocked(BlockReason.DRIFT, reason, remedy)


def resume(state: State) -> Resume | None:
    """Let an interrupted job continue."""
    job = _wanted_job(state)
    if job is None or step_of(job) is not JobStep.RESUME:
        return None
    reason = f"the worker of job {job.id} is gone; it goes on from its last checkpoint"
    return Resume(name=state.name, reason=reason, job=job)


def wait(state: State) -> Wait | None:
    """Wait for a running job."""
    job = _wanted_job(state)
    if job is None:
        return None
    return Wait(name=state.name, reason=f"job {job.id} is {job.state}", job=job)


def _wanted_job(state: State) -> Job | None:
    recorded = state.entry.job
    is_wanted = recorded is not None and recorded.fingerprint == state.target
    return state.job if is_wanted else None
