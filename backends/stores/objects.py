"""The interface to stores of objects, and the names of objects."""

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from backends.contract.errors import BackendError

PIECE: Final = 8 << 20
"""Maximum size of an object, in bytes."""
OBJECTS: Final = "objects/"
BUILDS: Final = "builds/"
ANSWERS: Final = "answers/"
FILES: Final = "files/"
"""Manifests of files for jobs on other machines."""
LOCKS: Final = "locks/"
PROBES: Final = "probes/"
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")


class StoreError(BackendError):
    """The store refuses, does not answer, or holds something else than it should."""


class ObjectDamaged(StoreError):
    """An object is not what was stored under its name. Other objects may be whole."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            "Type `ftctl store verify --delete-damaged`, then `ftctl store push` on a machine "
            "that has the model.",
        )


class StoreUnavailable(StoreError):
    """The store does not answer, is not mounted or is full: later it may be usable again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object, as a store lists it."""

    key: str
    bytes: int
    modified_s: float
    """Time of the store's own clock, in seconds since the epoch."""


class ObjectStore(Protocol):
    """A place for objects. Safe to use from several threads; each method may be repeated.

    Each method raises `StoreError` if the store refuses or does not answer.
    """

    @property
    def url(self) -> str:
        """Address, for people."""

    def create(self, key: str, data: bytes) -> bool:
        """Store an object unless there is one of that name.

        A store may keep objects below `OBJECTS` invisible until another object is created.

        Returns:
            False if there was one; it stays as it is.
        """

    def read(self, key: str) -> bytes | None:
        """Return an object; None if there is none."""

    def has(self, key: str) -> bool:
        """Return whether there is an object of that name."""

    def find(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects below a prefix, which ends with `/`."""

    def remove(self, keys: Collection[str]) -> None:
        """Remove objects; those that are absent are skipped."""


class SharedStore(ObjectStore, Protocol):
    """A store in which objects can be replaced too; what is read is what was written last."""

    def write(self, key: str, data: bytes) -> None:
        """Store an object, in place of one of that name."""


def digest_of(data: bytes) -> str:
    """Return the digest of bytes, as lockfile and manifests write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def hex_of(digest: str) -> str:
    """Return the hex digits of a digest.

    Raises:
        StoreError: The text is not a digest.
    """
    found = _DIGEST.fullmatch(digest)
    if found is None:
        raise StoreError(f"{digest[:80]!r} is not a digest")
    return found[1]


def piece_key(digest: str) -> str:
    """Return the name of the object that holds a piece of a file."""
    digits = hex_of(digest)
    return f"{OBJECTS}{digits[:2]}/{digits}"


def manifest_key(kind: str, fingerprint: str, digest: str) -> str:
    """Return the name of a build's manifest.

    Args:
        kind: `BUILDS` or `ANSWERS`.
        fingerprint: Of the build.
        digest: Of the manifest.
    """
    return f"{kind}{fingerprint.rpartition(':')[2]}/{hex_of(digest)}.json"


def checked(store: ObjectStore, key: str, digest: str) -> bytes:
    """Return an object whose content has a digest.

    Raises:
        StoreError: It is missing or damaged.
    """
    data = store.read(key)
    if data is None:
        raise StoreError(
            f"{store.url} has no object {key}",
            "Type `ftctl store push` on a machine that has the model.",
        )
    if digest_of(data) != digest:
        raise ObjectDamaged(
            f"{store.url}: object {key} is damaged: its content has the digest {digest_of(data)}"
        )
    return data
