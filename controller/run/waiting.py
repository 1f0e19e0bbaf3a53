"""Open jobs that a run follows, and the time between two passes."""

import time
from collections.abc import Mapping

from backends.contract.errors import BackendError
from backends.contract.jobs import Job
from controller.lockfile.model import Entry
from controller.plan.approval import owns
from controller.plan.job_steps import JobStep, step_of
from controller.plan.state import as_recorded
from controller.run.state import Run

_POLL_S = 10.0
_LONGEST_POLL_S = 60.0
"""Seconds between two looks during an outage, at most, unless a backend always asks for more."""


def follow(run: Run, entries: Mapping[str, Entry]) -> None:
    """Note the open jobs that a run follows, as its last plan saw them."""
    run.result.waiting, run.followed = {}, {}
    for name, entry in sorted(entries.items()):
        job = entry.job
        if job is None or name in run.result.failed:
            continue
        if owns(job, run.options.approval, name):
            seen = run.prepared.plan.jobs.get(job.id)
            run.result.waiting[name] = seen or as_recorded(job)
            run.followed.setdefault(job.backend, []).append(job.id)


def wait_for_change(run: Run) -> None:
    """Watch open jobs, one call for each backend, until one of them is not simply running."""
    names = {job.id: name for name, job in run.result.waiting.items()}
    poll_s = pause_s = max(_poll_s(run, place) for place in run.followed)
    while True:
        time.sleep(pause_s)
        seen: dict[str, Job] = {}
        silent: set[str] = set()
        for place, ids in run.followed.items():
            try:
                seen |= run.prepared.open_backend(place).observe(ids)
            except BackendError as error:
                silent |= set(ids)
                run.note_outage(place, error.message, error.remedy)
        if not silent:
            pause_s = poll_s
            run.end_outage()
        elif not run.is_patient:
            return  # the next pass reports what is wrong
        else:
            pause_s = max(poll_s, min(2 * pause_s, _LONGEST_POLL_S))
        run.reporter.progress({names[job_id]: job for job_id, job in seen.items()})
        gone = names.keys() - seen.keys() - silent
        if gone or any(step_of(job) is not JobStep.WAIT for job in seen.values()):
            return


def _poll_s(run: Run, place: str) -> float:
    try:
        return run.prepared.open_backend(place).capabilities().poll_s
    except BackendError:
        return _POLL_S
