"""Jobs that are submitted, continued and taken over."""

import json
from dataclasses import replace

from backends.contract.jobs import Job
from controller.apply.context import ApplyContext, Result, cancel_job, with_changes
from controller.apply.submit import find_or_submit
from controller.canonical import canonical_json
from controller.errors import ExitCode, FtctlError
from controller.lockfile.model import OpenJob
from controller.plan.actions import Adopt, Resume, Train
from controller.plan.desired import Desired
from controller.plan.hosting import hosting_origin


def train(action: Train, context: ApplyContext) -> Result:
    """Submit a job, after cancelling the one it replaces."""
    desired = context.desired(action.name)
    request = context.request(action.name)
    if action.hosting is not None:
        # Kept with the job, so that a later run knows that the price was approved with it.
        request = replace(request, origin={**request.origin, **hosting_origin(action.hosting)})
    backend = context.open_backend(desired.spec.place)
    entry = cancel_job(action, context)
    job = find_or_submit(backend, request, action.attempt)
    opened = with_changes(entry, job=_open_job(job, desired, context))
    message = f"submitted as job {job.id}"
    if action.cancels is not None:
        message += f"; job {action.cancels.job} was cancelled"
    return Result(message=message, entries={action.name: opened})


def resume(action: Resume, context: ApplyContext) -> Result:
    """Submit an interrupted job again: it continues from its last checkpoint."""
    request = context.request(action.name)
    if action.job.fingerprint != request.fingerprint:
        raise FtctlError(f"{action.name}: the interrupted job has other inputs than the spec")
    desired = context.desired(action.name)
    backend = context.open_backend(desired.spec.place)
    job = find_or_submit(backend, request, action.job.attempt)
    if job.id == action.job.id:
        return Result(message=f"job {job.id} continues")
    # It vanished a moment ago. What was started in its place must be known, to be followed or ended.
    opened = with_changes(context.entry(action.name), job=_open_job(job, desired, context))
    message = f"job {action.job.id} is gone; job {job.id} was started in its place"
    return Result(message=message, entries={action.name: opened}, exit_code=ExitCode.ERROR)


def adopt(action: Adopt, context: ApplyContext) -> Result:
    """Record a job that was made for these inputs and is not recorded."""
    desired = context.desired(action.name)
    backend = context.open_backend(desired.spec.place)
    request = replace(context.request(action.name), attempt=action.job.attempt)
    backend.verify_job(request, action.job.id)
    entry = cancel_job(action, context)
    opened = with_changes(entry, job=_open_job(action.job, desired, context))
    return Result(message=f"took over job {action.job.id}", entries={action.name: opened})


def _open_job(job: Job, desired: Desired, context: ApplyContext) -> OpenJob:
    return OpenJob(
        id=job.id,
        backend=desired.spec.place,
        fingerprint=job.fingerprint,
        attempt=job.attempt,
        inputs=json.loads(canonical_json(desired.inputs)),
        base_model=desired.base_name,
        revision=desired.base_model.revision,
        parent=None if desired.parent is None else desired.parent.facts,
        data=desired.data,
        estimate_usd=desired.estimate.usd,
        submitted=context.timestamp(job.created_s),
        spec_commit=context.spec_commit,
    )
