"""Decisions about the jobs of equal inputs: which to join, which attempt is next, what to do. Pure.

The planner and the server's job runner decide by the same functions.
"""

from collections.abc import Container, Sequence
from enum import Enum, auto
from typing import assert_never

from backends.contract.jobs import Job, JobState


class JobStep(Enum):
    """Next step of a submitted job."""

    WAIT = auto()
    RESUME = auto()
    """Submit it again: it continues from its last checkpoint."""
    RECORD = auto()
    """Record its end."""
    REPORT_LOST = auto()
    """Report that the backend does not know it any more."""


def step_of(job: Job | None) -> JobStep:
    """Return what a submitted job needs next.

    Args:
        job: The job as its backend shows it; None if the backend does not know it.
    """
    if job is None:
        return JobStep.REPORT_LOST
    match job.state:
        case JobState.QUEUED | JobState.RUNNING:
            return JobStep.WAIT
        case JobState.INTERRUPTED:
            return JobStep.RESUME
        case JobState.SUCCEEDED | JobState.FAILED | JobState.CANCELLED:
            return JobStep.RECORD
        case _:
            assert_never(job.state)


def joinable(jobs: Sequence[Job], unwanted: Container[str] = ()) -> list[Job]:
    """Return the jobs that have a model or may still make one, in their order.

    A model is a model, whichever attempt made it. A job that was cancelled was not wanted, and a
    job that failed counts for its own attempt alone.

    Args:
        jobs: Jobs of the wanted inputs.
        unwanted: IDs of jobs that are being cancelled; they do not count while they are open.
    """
    return [
        job
        for job in jobs
        if job.state is JobState.SUCCEEDED or (job.state.is_open and job.id not in unwanted)
    ]


def next_attempt(jobs: Sequence[Job], least: int = 1) -> int:
    """Return the number of a new attempt: more than any job has, and at least `least`."""
    return max([least, *(job.attempt + 1 for job in jobs)])
