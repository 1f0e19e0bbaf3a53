"""Records of what was trained for a pull request before its merge. Pure.

They are a lockfile of their own, which holds only what the repository's lockfile lacks. A build of it
is taken over by whatever asks for the same inputs later: the branch, once the pull request is merged.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller.lockfile.model import Build, Entry, Lockfile


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRecord:
    """Record of one pull request."""

    pull: int
    """Number of the pull request."""
    lockfile: Lockfile


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyBuild:
    """A build that was trained for a pull request."""

    pull: int
    """Number of the pull request."""
    name: str
    """The fine-tune."""
    build: Build


def early_builds(records: Iterable[PullRecord]) -> dict[str, EarlyBuild]:
    """Return the builds of pull requests by fingerprint; of equal ones that of the first request."""
    found: dict[str, EarlyBuild] = {}
    for record in sorted(records, key=lambda one: one.pull):
        for name, entry in record.lockfile.finetunes.items():
            for fingerprint, build in entry.builds.items():
                early = EarlyBuild(pull=record.pull, name=name, build=build)
                found.setdefault(fingerprint, early)
    return found


def begin(recorded: Lockfile, own: Lockfile) -> Lockfile:
    """Return the lockfile that training for a pull request works on.

    Open jobs of the repository are left out: a pull request must not cancel them.

    Args:
        recorded: The repository's lockfile.
        own: What was recorded for the pull request before.
    """
    entries = {}
    for name in sorted({*recorded.finetunes, *own.finetunes}):
        known = recorded.finetunes.get(name, Entry())
        mine = own.finetunes.get(name, Entry())
        changes = {
            "job": mine.job,
            "candidate": mine.candidate or known.candidate,
            "builds": {**mine.builds, **known.builds},
            "failures": {**mine.failures, **known.failures},
            "attempts": {**mine.attempts, **known.attempts},
        }
        entries[name] = known.model_copy(update=changes)
    return Lockfile(finetunes=entries)


def joined(fetched: Lockfile, here: Lockfile) -> Lockfile:
    """Return the records of one pull request that two machines know.

    A job that neither names is found again at its backend.

    Args:
        fetched: What another machine pushed, or this one.
        here: What this machine recorded, and perhaps could not push.
    """
    entries = {}
    for name in sorted({*fetched.finetunes, *here.finetunes}):
        theirs = fetched.finetunes.get(name, Entry())
        mine = here.finetunes.get(name, Entry())
        builds = {**theirs.builds, **mine.builds}
        failures = {**theirs.failures, **mine.failures}
        jobs = [job for job in (mine.job, theirs.job) if job is not None]
        is_open = [job for job in jobs if job.fingerprint not in {*builds, *failures}]
        entries[name] = Entry(
            candidate=mine.candidate or theirs.candidate,
            job=is_open[0] if is_open else None,
            builds=builds,
            failures=failures,
            attempts={**theirs.attempts, **mine.attempts},
        )
    return Lockfile(finetunes=entries)


def own_records(now: Lockfile, recorded: Lockfile) -> Lockfile:
    """Return what a pull request's lockfile has and the repository's lacks.

    Args:
        now: The lockfile that training for the pull request works on.
        recorded: The repository's lockfile.
    """
    entries = {}
    for name, entry in now.finetunes.items():
        known = recorded.finetunes.get(name, Entry())
        builds = _without(entry.builds, known.builds)
        failures = _without(entry.failures, known.failures)
        attempts = {
            key: number
            for key, number in entry.attempts.items()
            if known.attempts.get(key) != number
        }
        candidate = entry.candidate if entry.candidate in builds else None
        own = Entry(
            candidate=candidate,
            job=entry.job,
            builds=builds,
            failures=failures,
            attempts=attempts,
        )
        if own != Entry():
            entries[name] = own
    return Lockfile(finetunes=entries)


def is_taken_over(record: PullRecord, recorded: Lockfile) -> bool:
    """Return True if the repository's lockfile has every build of a pull request, and there is one.

    Where every training failed, the pull request is not merged yet, and the next one has to know.

    Args:
        record: What is recorded for the pull request.
        recorded: The repository's lockfile.
    """
    entries = record.lockfile.finetunes.values()
    known = {key for entry in recorded.finetunes.values() for key in entry.builds}
    trained = {key for entry in entries for key in entry.builds}
    return bool(trained) and trained <= known and all(entry.job is None for entry in entries)


def _without(mine: Mapping[str, object], known: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in mine.items() if key not in known}
