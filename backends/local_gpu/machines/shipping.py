"""Files of a run that go to the store and come back, named by their digests.

What several runs may share, such as data and base models, is stored once. Checkpoints are kept apart
for each run, so that they can be removed when it has ended.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from backends.stores.manifest import Manifest
from backends.stores.objects import FILES, SharedStore, StoredObject
from backends.stores.pull import pull_files, read_manifest
from backends.stores.push import Report, push_files

_BACKEND: Final = "local-gpu"


def unreported(_done: int, _total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Below:
    """Implements `SharedStore` with the objects of another store below a prefix."""

    store: SharedStore
    prefix: str

    @property
    def url(self) -> str:
        """Address, for people."""
        return self.store.url

    def create(self, key: str, data: bytes) -> bool:
        """Store an object unless there is one of that name."""
        return self.store.create(self.prefix + key, data)

    def write(self, key: str, data: bytes) -> None:
        """Store an object, in place of one of that name."""
        self.store.write(self.prefix + key, data)

    def read(self, key: str) -> bytes | None:
        """Return an object; None if there is none."""
        return self.store.read(self.prefix + key)

    def has(self, key: str) -> bool:
        """Return whether there is an object of that name."""
        return self.store.has(self.prefix + key)

    def find(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects below a prefix."""
        for one in self.store.find(self.prefix + prefix):
            yield replace(one, key=one.key.removeprefix(self.prefix))

    def remove(self, keys: Collection[str]) -> None:
        """Remove objects."""
        self.store.remove([self.prefix + key for key in keys])


def checkpoints_of(store: SharedStore, run: str) -> Below:
    """Return the part of a store that holds the files of a run's checkpoints."""
    return Below(store=store, prefix=f"checkpoints/{run}/")


def clear(store: Below) -> None:
    """Remove everything below a prefix."""
    store.remove([one.key for one in store.find("")])


def push_folder(
    store: SharedStore, owner: str, folder: Path, names: Sequence[str], report: Report = unreported
) -> str:
    """Write files of a folder to the store; return the digest of their manifest.

    Args:
        store: The store.
        owner: Fingerprint that the files belong to.
        folder: The folder.
        names: Their names relative to it.
        report: Receives progress.

    Raises:
        StoreError: The store refuses or does not answer.
        OSError: A file cannot be read.
    """
    empty = Manifest(fingerprint=owner, attempt=1, backend=_BACKEND, model_id="", files=())
    digest, _ = push_files(store, FILES, empty, folder, names, report)
    return digest


def pull_folder(
    store: SharedStore, owner: str, digest: str, folder: Path, report: Report = unreported
) -> None:
    """Read files into a folder, which has no others afterwards.

    Raises:
        StoreError: They are missing or damaged, or the store does not answer.
        OSError: The disk refuses.
    """
    pull_files(store, read_manifest(store, FILES, owner, digest), folder, report)


def files_of(folder: Path) -> list[str]:
    """Return the names of all files of a folder, in order, relative to it."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return sorted(path.relative_to(folder).as_posix() for path in found)
