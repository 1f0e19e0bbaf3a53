"""The end of a job, written down. Needs the lockfile and the backend's answer, nothing else."""

from backends.contract.jobs import JobState
from controller.apply.context import ApplyContext, Outcome, Result, with_remedy
from controller.errors import ExitCode, FtctlError
from controller.lockfile.model import OpenJob
from controller.plan.actions import Record
from controller.plan.plan import describe_end
from controller.plan.recording import after_job, failure_text


def record(action: Record, context: ApplyContext) -> Result:
    """Record a build, or why there is none."""
    name, job = action.name, action.job
    entry = context.entry(name)
    opened = entry.job
    if opened is None or opened.id != job.id:
        raise FtctlError(f"{name}: job {job.id} is not the one that is recorded")
    superseded = _is_superseded(name, opened, context)
    finished = context.timestamp(job.finished_s)
    entries = {name: after_job(entry, job, finished=finished, superseded=superseded)}
    if job.state is JobState.SUCCEEDED and job.result is not None:
        outcome = Outcome(action=action, message=f"trained {job.result.model_id}")
    elif superseded:
        outcome = Outcome(action=action, message=f"{describe_end(job)}; no spec asks for it now")
    else:
        remedy = f"Read its log with `ftctl logs {name}`, and try again with `ftctl retry {name}`."
        message = with_remedy(f"job {job.id} {failure_text(job)}", remedy)
        outcome = Outcome(action=action, message=message, exit_code=ExitCode.ERROR)
    return Result(outcome=outcome, entries=entries)


def _is_superseded(name: str, opened: OpenJob, context: ApplyContext) -> bool:
    """Return whether the spec, or its absence, asks for other inputs than the job's."""
    if name in context.resolved.unresolved:
        return False
    desired = context.resolved.desired.get(name)
    return desired is None or desired.fingerprint != opened.fingerprint
