"""Datasets that were found whole before, so that nothing of an unchanged one is read again.

A remembered dataset is believed when all of this holds:

- The spec's `data` section, its folder, the inspector, the method and the versions of what prepares
  data are the same. Each source is one file by its path: no wildcard, no server, no saved dataset.
- On the way to each source, from the repository on, there is no link, and the source is a plain
  file. So the refusals need not be repeated: they depend on names and links alone.
- Every source and every file of the dataset has the inode, the size and the times that it had when
  it was read. Times less than two seconds old when it was read are in doubt, as they are in git:
  the file may be written again within one tick of its disk's clock.
- All of them are on a disk of this machine: what a network says of a file may be seconds old.
- The machine was not started since, for a crash may leave a file its size and not its bytes; and
  whoever asks is who asked then, since others may not be allowed to read the sources.

Where anything differs, the dataset is looked for as if nothing were remembered.
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
from controller.data.sources.inspect_file import VERSION as LOOK_VERSION
from controller.data.sources.inspect_file import Stamp, stamp_of
from controller.spec.data import Data, Fraction, Source
from controller.state_memo import read_memo, write_memo

_VERSION = 1
_DOUBT_NS = 2_000_000_000
"""A file system may keep times of whole seconds; FAT keeps every other one."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MOUNTS = Path("/proc/self/mountinfo")
_LOCAL = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs"})
"""File systems whose files nobody changes but this machine."""

_Entry: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A dataset that is asked for."""

    key: str
    """Digest of everything that decides it, but what is in its sources."""
    sources: Sequence[str]
    """Their paths, in the spec's order."""
    asked_ns: int
    """The moment before anything of it was read."""


class Unchanged:
    """The datasets of one pass, and those of passes before."""

    def __init__(
        self, memo: Path, root: Path, cache: Path, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """Read the memo.

        Args:
            memo: What was remembered.
            root: The repository, resolved.
            cache: Where datasets are kept.
            now_ns: The clock that files' times are compared with.
        """
        self._now_ns = now_ns
        self._memo = memo
        self._root = str(root)
        self._datasets = str(cache / "datasets")
        # No source is in the state folder, wherever a link leads to it.
        self._places = [self._root, self._datasets, os.path.realpath(cache)]
        self._version = _circumstances()
        self._disks = _local_disks()
        self._known = read_memo(memo, self._version) if self._version else {}
        self._used: dict[str, _Entry] = {}
        self._is_news = False

    def question(self, data: Data, folder: Path, decisive: object) -> Question | None:
        """Return what is asked for; None where the sources are not plain paths.

        Args:
            data: The spec's section.
            folder: The spec's folder.
            decisive: What else decides a dataset, ready for JSON.
        """
        asked_ns = self._now_ns()
        paths = []
        for source in sources_of(data):
            if source.path is None or has_wildcard(source.path):
                return None
            paths.append(os.path.normpath(f"{folder.absolute()}/{source.path}"))
        said = data.model_dump(exclude_unset=True)
        decided = json.dumps([said, str(folder), self._places, decisive])
        key = hashlib.sha256(decided.encode()).hexdigest()
        return Question(key=key, sources=paths, asked_ns=asked_ns)

    def find(self, question: Question) -> tuple[Path, Manifest] | None:
        """Return the folder and manifest of a dataset that is surely as it was; else None."""
        entry = self._known.get(question.key)
        if entry is None:
            return None
        folder = f"{self._datasets}/{entry['dataset']}"
        if self._stamps(question.sources, folder, entry["files"]) != entry["stamps"]:
            return None
        touch(folder)
        self._used[question.key] = entry
        manifest: Manifest = entry["manifest"]
        return Path(folder), manifest

    def remember(
        self, question: Question, stamps: Sequence[Stamp], folder: Path, manifest: Manifest
    ) -> None:
        """Remember a dataset that was found whole, if nothing about it is in doubt.

        Args:
            question: What was asked for.
            stamps: Of the sources, from before they were read.
            folder: The dataset's.
            manifest: Its manifest.
        """
        names = [MANIFEST, *_files(manifest)]
        found = self._stamps(question.sources, str(folder), names)
        latest = max((max(stamp[3:]) for stamp in found or ()), default=0)
        if (
            found is None
            or found[: len(stamps)] != [list(stamp) for stamp in stamps]
            or latest + _DOUBT_NS >= question.asked_ns
        ):
            return
        self._used[question.key] = {
            "dataset": folder.name,
            "files": names,
            "stamps": found,
            "manifest": manifest,
        }
        self._is_news = True

    def save(self) -> None:
        """Remember the datasets of this pass, where any of them is new."""
        if self._is_news and self._version:
            write_memo(self._memo, self._version, self._used)

    def _stamps(
        self, sources: Sequence[str], folder: str, names: Sequence[str]
    ) -> list[list[int]] | None:
        """Return what the disk says of all files; None where it says nothing reliable."""
        try:
            stamps = [self._inside(source) for source in sources]
            stamps += [self._plain(f"{folder}/{name}") for name in names]
        except (OSError, _Doubtful):
            return None
        return stamps

    def _inside(self, path: str) -> list[int]:
        """Return the stamp of a file that no link leads to."""
        if not path.startswith(self._root + "/"):
            raise _Doubtful
        at = self._root
        for part in path[len(at) + 1 :].split("/")[:-1]:
            at = f"{at}/{part}"
            if not stat.S_ISDIR(os.lstat(at).st_mode):
                raise _Doubtful
        return self._plain(path)

    def _plain(self, path: str) -> list[int]:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_dev not in self._disks:
            raise _Doubtful
        return list(stamp_of(status))


class _Doubtful(Exception):
    """A file of which the disk may not say everything."""


def sources_of(data: Data) -> list[Source]:
    """Return every source of a section, in the spec's order."""
    return [*data.train, *(() if isinstance(data.held_out, Fraction) else data.held_out)]


def _files(manifest: Manifest) -> list[str]:
    # Our own file, whose digests were just found to fit: no need to doubt its types.
    files: Any = manifest["files"]
    return list(files)


def _circumstances() -> str:
    """Return what must not have changed since a memo was written; nothing where it is unknown."""
    try:
        boot = _BOOT.read_text().strip()
    except OSError:
        return ""
    who = [os.geteuid(), os.getegid(), *sorted(os.getgroups())]
    return f"{__version__} {_VERSION} {LOOK_VERSION} {boot} {who}"


def _local_disks() -> frozenset[int]:
    """Return the devices that only this machine writes to."""
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return frozenset()
    mounts = [line.partition(" - ") for line in lines]
    devices = {before.split()[2] for before, _, after in mounts if after.split()[0] in _LOCAL}
    return frozenset(os.makedev(*map(int, device.split(":"))) for device in devices)
