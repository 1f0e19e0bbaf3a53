"""The whole store, read and compared with the digests that name its objects."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from backends.stores.manifest import Manifest
from backends.stores.objects import (
    ANSWERS,
    BUILDS,
    ObjectDamaged,
    ObjectStore,
    StoreError,
    digest_of,
    manifest_key,
    piece_key,
)
from backends.stores.pull import read_manifest
from backends.stores.push import WORKERS, Report
from controller.lockfile.model import Entry
from controller.plan.fingerprint import short_id
from controller.store.privacy import named_builds


@dataclass(slots=True, kw_only=True)
class Verified:
    """Result of reading what a lockfile names."""

    builds: int = 0
    objects: int = 0
    bytes: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    """Objects that are there and hold something else, with the build that needs each."""
    missing: dict[str, str] = field(default_factory=dict)
    """Objects that are not there, with the build that needs each."""


def verify_store(store: ObjectStore, entries: Mapping[str, Entry], report: Report) -> Verified:
    """Read every object that recorded builds need, each once.

    Args:
        store: The store.
        entries: The recorded fine-tunes to verify.
        report: Receives the objects so far, and of all.

    Raises:
        StoreError: The store refuses or does not answer.
    """
    verified = Verified()
    pieces: dict[str, str] = {}
    for what, manifest in _manifests(store, entries, verified):
        verified.builds += 1
        for digest in manifest.pieces:
            pieces.setdefault(digest, what)
    with ThreadPoolExecutor(WORKERS) as pool:
        sizes = pool.map(lambda digest: _size(store, digest), pieces)
        for number, ((digest, what), size) in enumerate(
            zip(pieces.items(), sizes, strict=True), start=1
        ):
            key = piece_key(digest)
            if size is None:
                verified.missing[key] = what
            elif size < 0:
                verified.damaged[key] = what
            else:
                verified.objects, verified.bytes = verified.objects + 1, verified.bytes + size
            report(number, len(pieces))
    return verified


def _manifests(
    store: ObjectStore, entries: Mapping[str, Entry], verified: Verified
) -> Iterator[tuple[str, Manifest]]:
    seen: set[str] = set()
    for name, build in named_builds(entries):
        stored, what = build.stored, f"{name}, build {short_id(build.fingerprint)}"
        if stored is None:
            continue
        for kind, digest in ((BUILDS, stored.model), (ANSWERS, stored.answers)):
            if digest is None or digest in seen:
                continue
            seen.add(digest)
            key = manifest_key(kind, build.fingerprint, digest)
            try:
                data = store.read(key)
            except ObjectDamaged:
                verified.damaged[key] = what
                continue
            if data is None:
                verified.missing[key] = what
            elif digest_of(data) != digest:
                verified.damaged[key] = what
            else:
                try:
                    yield what, read_manifest(store, kind, build.fingerprint, digest)
                except StoreError:
                    verified.damaged[key] = what


def _size(store: ObjectStore, digest: str) -> int | None:
    """Return the size of a piece; None if it is missing, -1 if it is damaged."""
    try:
        data = store.read(piece_key(digest))
    except ObjectDamaged:
        return -1
    if data is None:
        return None
    return len(data) if digest_of(data) == digest else -1
