"""Reasons why jobs wait, and steps that were repeated after workers were lost. Pure."""

from collections.abc import Mapping

from backends.contract.inspector import Json
from backends.contract.jobs import Job, JobState
from controller.lockfile.model import Lockfile
from controller.render.text import escape_control, one_line

_WIDTH = 300


def waiting_lines(lockfile: Lockfile, jobs: Mapping[str, Job]) -> list[str]:
    """Return what each open job waits for, in the words of the place that has it.

    Args:
        lockfile: What is recorded.
        jobs: Recorded open jobs as observed, by ID.
    """
    lines = []
    for name, entry in sorted(lockfile.finetunes.items()):
        job = jobs.get(entry.job.id) if entry.job is not None else None
        if job is not None and job.error and job.state in {JobState.QUEUED, JobState.INTERRUPTED}:
            lines.append(f"{escape_control(name)}: {one_line(job.error, _WIDTH)}")
    return lines


def again_words(facts: Mapping[str, Json]) -> str:
    """Return how many workers a training needed, and what was done again; empty for one worker.

    Args:
        facts: Of the build.
    """
    workers, lost = facts.get("workers"), facts.get("steps_lost")
    if not isinstance(workers, int) or workers <= 1:
        return ""
    again = f"{lost:,} steps" if isinstance(lost, int) and lost else "no step"
    return f"{workers:,}, {again} done again"
