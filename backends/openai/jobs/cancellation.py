"""Cancellation of a job, which may have ended already."""

from typing import TYPE_CHECKING, Final

from backends.openai.api.protocol import OutcomeUnknown, Rejected
from backends.openai.jobs.job_poller import JobPoller

if TYPE_CHECKING:
    from backends.openai.api.client import Client

_OVER: Final = frozenset({400, 404})
"""Statuses with which servers refuse to cancel a job that has ended or does not exist."""


def cancel_job(client: "Client", poller: JobPoller, job_id: str) -> None:
    """Ask a job to stop; a finished job stays as it is.

    Raises:
        Rejected: The server refuses, and the job is open.
        OutcomeUnknown: The server gave no clear answer, and the job is open.
    """
    try:
        client.cancel_job(job_id)
    except Rejected as error:
        if error.status not in _OVER or not error.is_api_error:
            raise
        _require_over(poller, job_id, error)
    except OutcomeUnknown as error:
        # 409 included: some servers answer with it for a job that has ended.
        _require_over(poller, job_id, error)


def _require_over(poller: JobPoller, job_id: str, error: Rejected | OutcomeUnknown) -> None:
    """Raise the error of a failed cancellation, unless the job has ended."""
    jobs = poller.observe([job_id])
    if job_id in jobs and jobs[job_id].state.is_open:
        raise error
