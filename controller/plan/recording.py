"""Entry after the end of a job. Pure: the planner looks ahead with it, the handler records it."""

import json
import math
from collections.abc import Mapping, Sequence

from backends.contract.inspector import Json
from backends.contract.jobs import Job, JobResult, JobState
from controller.canonical import canonical_json
from controller.lockfile.model import Build, Entry, Failure, OpenJob


def after_job(entry: Entry, job: Job, *, finished: str, superseded: bool) -> Entry:
    """Return an entry after its open job ended.

    Args:
        entry: With the open job.
        job: The job, as the backend shows it.
        finished: When it ended, as the lockfile writes times.
        superseded: Whether the spec, or its absence, asks for other inputs by now.

    Raises:
        ValueError: The job is not the entry's.
    """
    opened = entry.job
    if opened is None or opened.id != job.id:
        raise ValueError(f"job {job.id} is not the one that is recorded")
    if job.state is JobState.SUCCEEDED and job.result is not None:
        return _with_build(entry, _build(opened, job, job.result, finished))
    failures = entry.failures
    # Of a cancelled job that no spec asks for, an earlier run, which crashed before recording it,
    # was most likely the reason: these inputs did not fail.
    if not (superseded and job.state is JobState.CANCELLED):
        failures = {**failures, opened.fingerprint: _failure(opened, job, finished)}
    return entry.model_copy(update={"job": None, "failures": failures})


def describe_end(job: Job) -> str:
    """Return how a job ended: `job run-1 has succeeded`."""
    verb = "was" if job.state is JobState.CANCELLED else "has"
    return f"job {job.id} {verb} {job.state}"


def failure_text(job: Job) -> str:
    """Return why there is no build, to follow the job's ID: `failed: out of memory`."""
    if job.state is JobState.CANCELLED:
        return "was cancelled"
    return f"failed: {(job.error or 'it gave no reason').strip()}"


def _failure(opened: OpenJob, job: Job, finished: str) -> Failure:
    return Failure(
        job=job.id,
        backend=opened.backend,
        attempt=opened.attempt,
        error=failure_text(job),
        finished=finished,
    )


def _build(opened: OpenJob, job: Job, result: JobResult, finished: str) -> Build:
    return Build(
        fingerprint=opened.fingerprint,
        attempt=opened.attempt,
        backend=opened.backend,
        job=job.id,
        model_id=result.model_id,
        inputs=opened.inputs,
        base_model=opened.base_model,
        revision=opened.revision,
        parent=opened.parent,
        data=opened.data,
        facts=json.loads(canonical_json(_finite(result.facts))),
        estimate_usd=opened.estimate_usd,
        submitted=opened.submitted,
        finished=finished,
        spec_commit=opened.spec_commit,
    )


def _finite(value: Json) -> Json:
    """Return facts with null for each number that JSON cannot hold: a loss that diverged, say."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {key: _finite(one) for key, one in value.items()}
        case str():
            return value
        case Sequence():
            return [_finite(one) for one in value]
        case _:
            return value


def _with_build(entry: Entry, build: Build) -> Entry:
    failures = {key: one for key, one in entry.failures.items() if key != build.fingerprint}
    return entry.model_copy(
        update={
            "job": None,
            "candidate": build.fingerprint,
            "builds": {**entry.builds, build.fingerprint: build},
            "failures": failures,
        }
    )
