"""Submission of a job: one step, which the reconciler and the server share."""

from collections.abc import Container
from dataclasses import replace

from backends.contract.backend import Backend
from backends.contract.jobs import Job, TrainRequest
from controller.plan.job_steps import joinable, next_attempt


def find_or_submit(
    backend: Backend,
    request: TrainRequest,
    attempt: int | None = None,
    unwanted: Container[str] = (),
) -> Job:
    """Submit a job, or return the job that exists for the same inputs and attempt.

    Args:
        backend: The backend that trains.
        request: The inputs; its own attempt does not count.
        attempt: Attempt of a plan or of an earlier job; None looks up the jobs of the same inputs,
            and takes the newest one that can be joined, or else a new attempt.
        unwanted: IDs of jobs that are being cancelled, which must not be joined.

    Raises:
        SubmissionUnknown: The answer was lost and no job could be found.
        BackendError: The backend refused the job.
    """
    if attempt is None:
        found = backend.find_jobs([request.fingerprint]).get(request.fingerprint, ())
        joined = joinable(found, unwanted)
        attempt = joined[-1].attempt if joined else next_attempt(found)
    return backend.submit(replace(request, attempt=attempt))
