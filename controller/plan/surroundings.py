"""What the decision for one fine-tune needs to know of the others. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from controller.lockfile.model import Build, Entry, Lockfile
from controller.plan.actions import Cancellation, Desired


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a decision needs to know of the other fine-tunes; collected once for a plan."""

    builds: Mapping[str, tuple[str, Build]]
    """Recorded builds by fingerprint, with the name of the first fine-tune that has one."""
    declared: frozenset[str]
    """Every fine-tune with a spec, readable or not."""
    wanted: Mapping[str, frozenset[str]]
    """Names of the fine-tunes whose specs ask for a fingerprint."""
    sharing: Mapping[str, frozenset[str]]
    """Names of the fine-tunes whose spec cannot be read here and whose open job this is, by ID."""


def cancellation(name: str, entry: Entry, around: Surroundings) -> Cancellation | None:
    """Return what letting go of an entry's open job cancels.

    A job that another fine-tune wants as well, because it has the same inputs, keeps running.
    """
    job = entry.job
    if job is None:
        return None
    others = around.wanted.get(job.fingerprint, frozenset()) | around.sharing.get(
        job.id, frozenset()
    )
    if others - {name}:
        return None
    return Cancellation(
        job=job.id, backend=job.backend, submitted=job.submitted, usd=job.estimate_usd
    )


def surroundings_of(
    desired: Mapping[str, Desired], recorded: Lockfile, unresolved: Collection[str]
) -> Surroundings:
    """Collect what decisions need to know of other fine-tunes.

    Args:
        desired: What the specs ask for, by name.
        recorded: The lockfile.
        unresolved: Names of the fine-tunes whose spec or data cannot be read here.
    """
    builds: dict[str, tuple[str, Build]] = {}
    sharing: dict[str, set[str]] = {}
    for name in sorted(recorded.finetunes):
        entry = recorded.finetunes[name]
        for fingerprint, build in entry.builds.items():
            builds.setdefault(fingerprint, (name, build))
        if entry.job is not None and name in unresolved:
            sharing.setdefault(entry.job.id, set()).add(name)
    wanted: dict[str, set[str]] = {}
    for name, one in desired.items():
        if _follows_its_job(one, recorded.finetunes.get(name)):
            wanted.setdefault(one.fingerprint, set()).add(name)
    return Surroundings(
        builds=builds,
        declared=frozenset(desired) | frozenset(unresolved),
        wanted={key: frozenset(names) for key, names in wanted.items()},
        sharing={key: frozenset(names) for key, names in sharing.items()},
    )


def _follows_its_job(desired: Desired, entry: Entry | None) -> bool:
    """Return whether a fine-tune would take what a job for its inputs comes to.

    One that is suspended, or pinned to another build, does so only if the job is recorded for it.
    """
    job = entry.job if entry is not None else None
    if job is not None and job.fingerprint == desired.fingerprint:
        return True
    lifecycle = desired.spec.lifecycle
    return not lifecycle.suspend and lifecycle.pin is None
