"""The end of a job, written down. Needs the lockfile and the backend's answer, nothing else."""

from functools import partial

from backends.contract.jobs import JobState
from controller.apply.context import ApplyContext, Result
from controller.errors import ExitCode, FtctlError, Problem
from controller.evaluate.curves.files import findings_of_build, keep_curve
from controller.lockfile.model import Build
from controller.plan.actions import Record
from controller.plan.recording import after_job, describe_end, failure_text
from controller.state_folder import refused_by_system


def record(action: Record, context: ApplyContext) -> Result:
    """Record a build, or the reason why the job left no build."""
    name, job = action.name, action.job
    entry = context.entry(name)
    if entry.job is None or entry.job.id != job.id:
        raise FtctlError(f"{name}: job {job.id} is not the one that is recorded")
    finished = context.timestamp(job.finished_s)
    ended = after_job(entry, job, finished=finished, superseded=action.superseded)
    if job.state is JobState.SUCCEEDED and job.result is not None:
        return Result(
            message=f"trained {job.result.model_id}",
            entries={name: ended},
            then=partial(_keep_curve, ended.builds[job.fingerprint], context),
        )
    if action.superseded:
        message = f"{describe_end(job)}; no spec asks for it now"
        return Result(message=message, entries={name: ended})
    remedy = f"Read its log with `ftctl logs {name}`, and try again with `ftctl retry {name}`."
    message = str(Problem(message=f"job {job.id} {failure_text(job)}", remedy=remedy))
    return Result(message=message, entries={name: ended}, exit_code=ExitCode.ERROR)


def _keep_curve(build: Build, context: ApplyContext) -> str:
    """Keep the losses of a build that is recorded; return what is odd about them."""
    state = context.project.state
    try:
        points = keep_curve(context.open_backend(build.backend), state, build)
    except FtctlError as error:
        return f"\n    Its losses could not be read: {error.one_line}"
    except OSError as error:
        return f"\n    Its losses could not be kept: {refused_by_system(error, state).one_line}"
    found = findings_of_build(build, points)
    return "".join(f"\n    {finding.name}: {finding.text}" for finding in found)
