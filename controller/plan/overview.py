"""Everything that the decisions of one plan look at: desired, recorded, observed. Pure.

A decision for one fine-tune depends on others, too: equal inputs share a build and a job, a renamed
file keeps its entry. What is derived for that is computed once for a plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from controller.lockfile.model import Build, Entry
from controller.plan.actions import Blocked, Deferred, Restore
from controller.plan.desired import Desired
from controller.plan.observed import Lost, Observed


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Desired, recorded and observed state of every fine-tune."""

    desired: Mapping[str, Desired]
    recorded: Mapping[str, Entry]
    observed: Observed
    unresolved: Mapping[str, Deferred | Blocked]
    """Fine-tunes whose spec or data cannot be read here."""

    @cached_property
    def declared(self) -> frozenset[str]:
        """Every fine-tune with a spec, readable or not."""
        return frozenset(self.desired) | frozenset(self.unresolved)

    @cached_property
    def builds(self) -> Mapping[str, tuple[str, Build]]:
        """Recorded builds by fingerprint, with the name of the first fine-tune that has it."""
        builds: dict[str, tuple[str, Build]] = {}
        for name in sorted(self.recorded):
            for fingerprint, build in self.recorded[name].builds.items():
                builds.setdefault(fingerprint, (name, build))
        return builds

    @cached_property
    def _wanted(self) -> Mapping[str, set[str]]:
        """Names of the fine-tunes whose specs ask for a fingerprint."""
        wanted: dict[str, set[str]] = {}
        for name, desired in self.desired.items():
            if _follows_its_job(desired, self.recorded.get(name)):
                wanted.setdefault(desired.fingerprint, set()).add(name)
        return wanted

    @cached_property
    def _unreadable_owners(self) -> Mapping[str, set[str]]:
        """Names of the fine-tunes with an unreadable spec and this open job, by its ID."""
        owners: dict[str, set[str]] = {}
        for name in self.unresolved:
            entry = self.recorded.get(name)
            if entry is not None and entry.job is not None:
                owners.setdefault(entry.job.id, set()).add(name)
        return owners

    def sharers(self, name: str, entry: Entry) -> set[str]:
        """Return the other fine-tunes that want the open job of an entry."""
        if entry.job is None:
            return set()
        wanted = self._wanted.get(entry.job.fingerprint, set())
        return (wanted | self._unreadable_owners.get(entry.job.id, set())) - {name}

    @cached_property
    def restores(self) -> Mapping[str, Restore]:
        """Restorations of fine-tunes without an entry, by name."""
        orphans = {
            name: entry
            for name, entry in sorted(self.recorded.items())
            if name not in self.declared
        }
        restores: dict[str, Restore] = {}
        for name, desired in self.desired.items():
            if name not in self.recorded:
                restore = _restore(desired, orphans, self.observed.lost.get(name))
                if restore is not None:
                    restores[name] = restore
        return restores


def pinned_builds(pin: str, entry: Entry) -> list[str]:
    """Return the fingerprints of the recorded builds that a pin's first digits fit."""
    digits = pin.removeprefix("ft1:")
    return [key for key in entry.builds if key.partition(":")[2].startswith(digits)]


def _follows_its_job(desired: Desired, entry: Entry | None) -> bool:
    """Return whether a fine-tune would take what a job for its inputs comes to.

    One that is suspended, or pinned to another build, does so only if the job is recorded for it.
    """
    job = entry.job if entry is not None else None
    if job is not None and job.fingerprint == desired.fingerprint:
        return True
    lifecycle = desired.spec.lifecycle
    return not lifecycle.suspend and lifecycle.pin is None


def _restore(desired: Desired, orphans: Mapping[str, Entry], lost: Lost | None) -> Restore | None:
    """Return what is known of a fine-tune without an entry: under its old name, or elsewhere."""
    name = desired.name
    nearest = max(orphans, key=lambda old: _nearness(desired, orphans[old]), default=None)
    if nearest is not None and _nearness(desired, orphans[nearest]):
        reason = f"finetunes/{nearest}.yaml was renamed to {name}.yaml"
        return Restore(name=name, reason=reason, entry=orphans[nearest], source=nearest)
    if lost is None:
        return None
    count = len(lost.entry.builds)
    what = f"{count} build{'' if count == 1 else 's'}" if count else "an open job"
    reason = f"the lockfile has no entry for it; {lost.source} knows {what}"
    return Restore(name=name, reason=reason, entry=lost.entry)


def _nearness(desired: Desired, entry: Entry) -> int:
    """Return how surely an entry without a spec is a fine-tune under its old name; 0 for not."""
    pin = desired.spec.lifecycle.pin
    target = desired.fingerprint
    if pin is not None and len(pin.removeprefix("ft1:")) >= _SURE_DIGITS:
        matches = pinned_builds(pin, entry)
        target = matches[0] if len(matches) == 1 else target
    if target == entry.production:
        return 3
    if entry.job is not None and target == entry.job.fingerprint:
        return 2
    return int(target in entry.builds)


_SURE_DIGITS = 8
"""Minimum hex digits of a pin that do not fit another build by chance."""
