"""The end of a job, written down. Needs the lockfile and the backend's answer, nothing else."""

import json

from backends.base import Job, JobResult, JobState
from controller.apply.context import ApplyContext, Outcome, Result, with_changes, with_remedy
from controller.canonical import canonical_json
from controller.errors import ExitCode, FtctlError
from controller.lock.model import Build, Entry, Failure, OpenJob
from controller.plan.actions import Record
from controller.plan.plan import describe_end


def record(action: Record, context: ApplyContext) -> Result:
    """Record a build, or why there is none."""
    entry, job = context.entry(action.name), action.job
    opened = entry.job
    if opened is None or opened.id != job.id:
        raise FtctlError(f"{action.name}: job {job.id} is not the one that is recorded")
    if job.state is JobState.SUCCEEDED and job.result is not None:
        build = _build(opened, job, job.result, context)
        recorded = _with_build(entry, build)
        outcome = Outcome(action=action, message=f"trained {build.model_id}")
        return Result(outcome=outcome, entries={action.name: recorded})
    return _record_failure(action, entry, opened, context)


def _record_failure(action: Record, entry: Entry, opened: OpenJob, context: ApplyContext) -> Result:
    job, name = action.job, action.name
    cancelled = job.state is JobState.CANCELLED
    error = "was cancelled" if cancelled else f"failed: {(job.error or 'no reason given').strip()}"
    failure = Failure(
        job=job.id,
        backend=opened.backend,
        attempt=opened.attempt,
        error=error,
        finished=context.timestamp(job.finished_s),
    )
    failures = {**entry.failures, opened.fingerprint: failure}
    if _is_superseded(name, opened, context):
        # Of a cancelled job an earlier run, which crashed before recording it, was most likely the
        # reason: it is no failure of these inputs.
        kept = entry.failures if cancelled else failures
        outcome = Outcome(action=action, message=f"{describe_end(job)}; no spec asks for it now")
        return Result(outcome=outcome, entries={name: with_changes(entry, job=None, failures=kept)})
    remedy = f"`ftctl logs {name}` shows its log; `ftctl retry {name}` tries again."
    return Result(
        outcome=Outcome(
            action=action,
            message=with_remedy(f"job {job.id} {error}", remedy),
            exit_code=ExitCode.ERROR,
        ),
        entries={name: with_changes(entry, job=None, failures=failures)},
    )


def _is_superseded(name: str, opened: OpenJob, context: ApplyContext) -> bool:
    """Return whether the spec, or its absence, asks for other inputs than the job's."""
    if name in context.resolved.unresolved:
        return False
    desired = context.resolved.desired.get(name)
    return desired is None or desired.fingerprint != opened.fingerprint


def _build(opened: OpenJob, job: Job, result: JobResult, context: ApplyContext) -> Build:
    return Build(
        fingerprint=opened.fingerprint,
        attempt=opened.attempt,
        backend=opened.backend,
        job=job.id,
        model_id=result.model_id,
        inputs=opened.inputs,
        base_model=opened.base_model,
        revision=opened.revision,
        data=opened.data,
        facts=json.loads(canonical_json(result.facts)),
        estimate_usd=opened.estimate_usd,
        submitted=opened.submitted,
        finished=context.timestamp(job.finished_s),
        spec_commit=opened.spec_commit,
    )


def _with_build(entry: Entry, build: Build) -> Entry:
    return with_changes(
        entry,
        job=None,
        candidate=build.fingerprint,
        builds={**entry.builds, build.fingerprint: build},
        failures={k: v for k, v in entry.failures.items() if k != build.fingerprint},
    )
