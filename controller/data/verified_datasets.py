"""Datasets that earlier passes verified, so that nothing of an unchanged dataset is read again.

A remembered dataset is trusted if all of this holds:

- The spec's `data` section, its folder, the inspector, the method and the versions of packages that
  prepare data are the same. Each source is one file by its path: no wildcard, no server, no saved
  dataset.
- Neither a source nor a folder on the way to it, from the repository on, is a link. So the checks
  of paths need not be repeated: they depend on names and links alone.
- Every source and every file of the dataset has the inode, the size and the times that it had when
  it was read. Times less than two seconds old at that moment prove nothing, as in git: the file may
  have been written again within one tick of its disk's clock.
- All of them are on a disk of this machine: a network may report a file's state seconds late.
- The machine was not started since then, for a crash may leave a file its size and not its bytes;
  and the user is the same, since another user may not be allowed to read the sources.

Otherwise the dataset is searched as if nothing were remembered.
"""

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from controller import __version__
from controller.data.cache import MANIFEST, Manifest
from controller.data.cache_gc import touch
from controller.data.sources.globs import has_wildcard
from controller.data.sources.inspect_file import VERSION as INSPECTION_VERSION
from controller.data.storage.memo_file import Stamp, changed_ns, stamp_of
from controller.spec.data import Data
from controller.state_memo import read_memo, write_memo

_VERSION = 1
_DOUBT_NS = 2_000_000_000
"""A file system may store times in whole seconds; FAT stores every second one."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MOUNTS = Path("/proc/self/mountinfo")
_LOCAL = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs"})
"""File systems whose files only this machine changes."""

_Entry: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A dataset to find."""

    key: str
    """Digest of everything that decides it, except the contents of its sources."""
    sources: Sequence[str]
    """Paths of the sources, in the spec's order."""
    asked_ns: int
    """Time before any of its files was read."""


class VerifiedDatasets:
    """Datasets that this pass and earlier passes verified."""

    def __init__(
        self, memo: Path, root: Path, cache: Path, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """Read the memo.

        Args:
            memo: File of the remembered datasets.
            root: The repository, resolved.
            cache: Folder of datasets.
            now_ns: The clock that files' times are compared with.
        """
        self._now_ns = now_ns
        self._memo = memo
        self._root = str(root)
        self._datasets = str(cache / "datasets")
        # Part of the key: a link may lead a source into the state folder, which is refused.
        self._folders = [self._root, self._datasets, os.path.realpath(cache)]
        self._version = _circumstances()
        self._disks = _local_disks()
        self._known = read_memo(memo, self._version) if self._version else {}
        self._used: dict[str, _Entry] = {}
        self._has_news = False

    def query(self, data: Data, folder: Path, decisive: object) -> Query | None:
        """Return the query for a spec's dataset; None if a source is not a plain path.

        Args:
            data: The spec's section.
            folder: The spec's folder.
            decisive: Everything else that decides a dataset, as JSON.
        """
        asked_ns = self._now_ns()
        paths = []
        for source in data.sources:
            if source.path is None or has_wildcard(source.path):
                return None
            paths.append(os.path.normpath(f"{folder.absolute()}/{source.path}"))
        settings = data.model_dump(exclude_unset=True)
        decided = json.dumps([settings, str(folder), self._folders, decisive])
        key = hashlib.sha256(decided.encode()).hexdigest()
        return Query(key=key, sources=paths, asked_ns=asked_ns)

    def find(self, query: Query) -> tuple[Path, Manifest] | None:
        """Return the folder and manifest of a dataset that is certainly unchanged; else None."""
        entry = self._known.get(query.key)
        if entry is None:
            return None
        folder = f"{self._datasets}/{entry['dataset']}"
        if self._stamps(query.sources, folder, entry["files"]) != entry["stamps"]:
            return None
        touch(folder)
        self._used[query.key] = entry
        manifest: Manifest = entry["manifest"]
        return Path(folder), manifest

    def remember(
        self, query: Query, stamps: Sequence[Stamp], folder: Path, manifest: Manifest
    ) -> None:
        """Remember a complete dataset, unless something about it is in doubt."""
        # Our own file, whose digests fit: its types need no check.
        files: Any = manifest["files"]
        names = [MANIFEST, *files]
        found = self._stamps(query.sources, str(folder), names)
        latest_ns = max((changed_ns(tuple(stamp)) for stamp in found or ()), default=0)
        if (
            found is None
            or found[: len(stamps)] != [list(stamp) for stamp in stamps]
            or latest_ns + _DOUBT_NS >= query.asked_ns
        ):
            return
        self._used[query.key] = {
            "dataset": folder.name,
            "files": names,
            "stamps": found,
            "manifest": manifest,
        }
        self._has_news = True

    def save(self) -> None:
        """Write the datasets of this pass to the memo, if there are new ones."""
        if self._has_news and self._version:
            write_memo(self._memo, self._version, self._used)

    def _stamps(
        self, sources: Sequence[str], folder: str, names: Sequence[str]
    ) -> list[list[int]] | None:
        """Return the stamps of all files; None if the disk does not report all reliably."""
        try:
            stamps = [self._source_stamp(source) for source in sources]
            stamps += [self._plain_stamp(f"{folder}/{name}") for name in names]
        except (OSError, _Doubtful):
            return None
        return stamps

    def _source_stamp(self, path: str) -> list[int]:
        """Return the stamp of a file in the repository that no link leads to."""
        if not path.startswith(self._root + "/"):
            raise _Doubtful
        at = self._root
        for name in path[len(at) + 1 :].split("/")[:-1]:
            at = f"{at}/{name}"
            if not stat.S_ISDIR(os.lstat(at).st_mode):
                raise _Doubtful
        return self._plain_stamp(path)

    def _plain_stamp(self, path: str) -> list[int]:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_dev not in self._disks:
            raise _Doubtful
        return list(stamp_of(status))


class _Doubtful(Exception):
    """The disk may not report everything about a file."""


def _circumstances() -> str:
    """Return the version, boot and user that a memo is valid for; empty if the boot is unknown."""
    try:
        boot = _BOOT.read_text().strip()
    except OSError:
        return ""
    user = [os.geteuid(), os.getegid(), *sorted(os.getgroups())]
    return f"{__version__} {_VERSION} {INSPECTION_VERSION} {boot} {user}"


def _local_disks() -> frozenset[int]:
    """Return the devices that only this machine writes to."""
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return frozenset()
    mounts = [line.partition(" - ") for line in lines]
    devices = {before.split()[2] for before, _, after in mounts if after.split()[0] in _LOCAL}
    return frozenset(os.makedev(*map(int, device.split(":"))) for device in devices)
