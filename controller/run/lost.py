"""Entries that the lockfile lost, from git and the backends."""

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from backends.contract.inspector import Json
from backends.contract.jobs import Job, JobState
from controller.errors import LockfileInvalid
from controller.lockfile.model import (
    Build,
    DataFacts,
    Entry,
    Lockfile,
    OpenJob,
    ParentFacts,
    parse_lockfile,
)
from controller.lockfile.store import LOCKFILE
from controller.plan.fingerprint import TRAINING_SCHEME, fingerprint

_VERSIONS = 20
"""Number of commits of the lockfile to read: the newest may have deleted or broken it."""


def recorded_in_git(root: Path) -> tuple[Lockfile, str] | None:
    """Return the newest committed lockfile that can be read, and its commit; None without one."""
    commits = _git(root, "rev-list", f"--max-count={_VERSIONS}", "HEAD", "--", LOCKFILE)
    for commit in (commits or b"").decode().split():
        text = _git(root, "show", f"{commit}:./{LOCKFILE}")
        if text is None:
            continue
        try:
            return parse_lockfile(text, LOCKFILE), commit[:12]
        except LockfileInvalid:
            continue
    return None


def entry_of_jobs(jobs: Iterable[Job], place: str) -> Entry:
    """Return the entry that a backend's jobs for one fine-tune make: every build, no promotion.

    A job counts if the inputs that it carries are those that its fingerprint is the digest of.
    """
    builds: dict[str, Build] = {}
    for job in jobs:
        build = _build_of(job, place)
        if build is not None:
            builds[build.fingerprint] = build
    return Entry(builds=builds)


def inputs_of_entry(entry: Entry) -> tuple[Mapping[str, Json], ...]:
    """Return the inputs of every build and open job of an entry."""
    made: list[Build | OpenJob] = [
        *entry.builds.values(),
        *([entry.job] if entry.job is not None else []),
    ]
    return tuple(one.inputs for one in made)


def inputs_of_jobs(jobs: Iterable[Job]) -> tuple[Mapping[str, Json], ...]:
    """Return the inputs of jobs, if they match the job's fingerprint."""
    carried = ((job, job.origin.get("inputs")) for job in jobs)
    return tuple(
        inputs
        for job, inputs in carried
        if isinstance(inputs, dict) and fingerprint(TRAINING_SCHEME, inputs) == job.fingerprint
    )


def _build_of(job: Job, place: str) -> Build | None:
    inputs = job.origin.get("inputs")
    if job.state is not JobState.SUCCEEDED or job.result is None or not isinstance(inputs, dict):
        return None
    if fingerprint(TRAINING_SCHEME, inputs) != job.fingerprint:
        return None
    try:
        return Build(
            fingerprint=job.fingerprint,
            attempt=job.attempt,
            backend=place,
            job=job.id,
            model_id=job.result.model_id,
            inputs=inputs,
            base_model=str(job.origin.get("base_model")),
            revision=_text(job.origin.get("revision")),
            parent=_parent(job),
            data=DataFacts.model_validate(job.origin.get("data")),
            facts=dict(job.result.facts),
            submitted=_time(job.created_s),
            finished=_time(job.finished_s or job.created_s),
        )
    except ValidationError:
        return None


def _parent(job: Job) -> ParentFacts | None:
    given = job.origin.get("parent")
    return None if given is None else ParentFacts.model_validate(given)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _git(root: Path, *arguments: str) -> bytes | None:
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run([git, "-C", str(root), *arguments], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None
