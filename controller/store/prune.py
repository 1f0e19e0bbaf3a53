"""What a prune keeps and what it removes.

A build is kept if it is in production or a candidate, if a spec pins it or asks for its inputs, if
any commit of the last days had it in production or as candidate, or if it is as young itself: so a
revert of anything recent finds its model.
"""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backends.stores.manifest import parse_manifest
from backends.stores.objects import (
    ANSWERS,
    BUILDS,
    FILES,
    OBJECTS,
    PROBES,
    ObjectStore,
    StoredObject,
    StoreError,
    manifest_key,
    piece_key,
)
from controller.lockfile.model import Build, Entry
from controller.plan.overview import pinned_builds
from controller.spec.load import LoadedSpec
from controller.store.history import DAY_S, named_in_git
from controller.store.privacy import named_builds

YOUNG_S = DAY_S
"""Age below which an object that no build names may belong to a push that was interrupted."""


@dataclass(slots=True, kw_only=True)
class Pruning:
    """What a prune would remove."""

    builds: dict[tuple[str, str], str] = field(default_factory=dict)
    """Recorded builds that are not kept, by fine-tune and fingerprint: their model IDs."""
    keys: list[str] = field(default_factory=list)
    """Names of objects to remove: manifests before the pieces that they name."""
    bytes: int = 0
    kept: int = 0
    """Number of manifests that stay."""


def kept_builds(
    entries: Mapping[str, Entry],
    specs: Mapping[str, LoadedSpec],
    wanted: Mapping[str, str],
    root: Path,
    days: int,
) -> set[str]:
    """Return the fingerprints of the builds to keep.

    Args:
        entries: What is recorded.
        specs: The specs that can be read.
        wanted: Fingerprints that specs ask for now, by fine-tune.
        root: The repository's folder.
        days: Number of days for which a revert finds its models.

    Raises:
        FtctlError: There is no git history to read.
    """
    since = datetime.now(UTC) - timedelta(days=days)
    kept = {*wanted.values()}
    for name, entry in entries.items():
        kept |= {one for one in (entry.production, entry.candidate) if one is not None}
        if entry.job is not None:
            kept.add(entry.job.fingerprint)
        if name in specs and name not in wanted:
            # Its data or its base model cannot be read here: nobody knows what it asks for.
            kept.update(entry.builds)
        pin = specs[name].spec.lifecycle.pin if name in specs else None
        if pin is not None:
            kept.update(pinned_builds(pin, entry))
    recent = since.strftime("%Y-%m-%dT%H:%M:%SZ")
    for _, build in named_builds(entries):
        if build.finished >= recent:
            kept.add(build.fingerprint)
    kept |= named_in_git(root, days)
    # The models that kept ones start from are loaded with them.
    builds = {build.fingerprint: build for _, build in named_builds(entries)}
    return kept | set(_parents(kept, builds))


def _parents(kept: set[str], builds: Mapping[str, Build]) -> Iterator[str]:
    for fingerprint in kept:
        build = builds.get(fingerprint)
        while build is not None and build.parent is not None:
            yield build.parent.build
            build = builds.get(build.parent.build)


def plan_pruning(
    store: ObjectStore, entries: Mapping[str, Entry], kept: set[str], days: int
) -> Pruning:
    """Find out what to remove; nothing is removed yet.

    Files for jobs on other machines stay: a machine may have its runs in the same folder or bucket.
    Manifests that this lockfile does not name may belong to another branch, or to another
    repository with the same store: they stay for as many days.

    Args:
        store: The store.
        entries: What is recorded.
        kept: Fingerprints of the builds to keep.
        days: As in `kept_builds`.

    Raises:
        StoreError: The store refuses, or a manifest is damaged.
    """
    pruning, now_s = Pruning(), _now_s(store)
    stays, goes = _recorded_keys(entries, kept, pruning)
    known = {key.split("/")[1] for key in stays}
    named = {fingerprint.rpartition(":")[2] for fingerprint in kept}
    needed: set[str] = set()
    freed: set[str] = set()
    manifests: list[StoredObject] = []
    for one in [*store.find(BUILDS), *store.find(ANSWERS)]:
        digits = one.key.split("/")[1]
        is_elsewhere = digits in named and digits not in known
        is_young = now_s - one.modified_s < days * DAY_S
        if one.key in stays or (one.key not in goes and (is_elsewhere or is_young)):
            needed |= _pieces(store, one.key)
            pruning.kept += 1
        else:
            manifests.append(one)
            freed |= _pieces(store, one.key, is_going=True)
    for one in store.find(FILES):
        needed |= _pieces(store, one.key)
    pieces = [
        one
        for one in store.find(OBJECTS)
        if one.key not in needed and (one.key in freed or now_s - one.modified_s >= YOUNG_S)
    ]
    left = [one for one in store.find(PROBES) if now_s - one.modified_s >= YOUNG_S]
    pruning.keys = [one.key for one in (*manifests, *pieces, *left)]
    pruning.bytes = sum(one.bytes for one in (*manifests, *pieces, *left))
    return pruning


def _recorded_keys(
    entries: Mapping[str, Entry], kept: set[str], pruning: Pruning
) -> tuple[set[str], set[str]]:
    """Return the recorded manifests that stay and those that go; note the builds of the latter."""
    stays: set[str] = set()
    goes: set[str] = set()
    for name, build in named_builds(entries):
        stored = build.stored
        if stored is None:
            continue
        if build.fingerprint not in kept:
            pruning.builds[name, build.fingerprint] = build.model_id
        keys = {
            manifest_key(kind, build.fingerprint, digest)
            for kind, digest in ((BUILDS, stored.model), (ANSWERS, stored.answers))
            if digest is not None
        }
        (stays if build.fingerprint in kept else goes).update(keys)
    return stays, goes - stays


def _pieces(store: ObjectStore, key: str, *, is_going: bool = False) -> set[str]:
    """Return the names of the pieces of a manifest; none of a damaged one that goes.

    Raises:
        StoreError: A manifest that stays is damaged: nobody knows which pieces it needs.
    """
    data = store.read(key)
    if data is None:
        return set()
    try:
        manifest = parse_manifest(data, f"{store.url}: object {key}")
    except StoreError:
        if is_going:
            return set()
        raise
    return {piece_key(digest) for digest in manifest.pieces}


def _now_s(store: ObjectStore) -> float:
    """Return the time by the clock of the store."""
    key = f"{PROBES}{secrets.token_hex(16)}"
    store.create(key, b"")
    try:
        return next(one.modified_s for one in store.find(PROBES) if one.key == key)
    finally:
        store.remove([key])
