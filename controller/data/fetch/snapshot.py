"""Snapshot files: written while hashing, named by their content, remembered by what they show.

A snapshot appears by one rename, whole and on the disk; a process that is killed leaves only a
temporary file, which a later run removes once it is old. A memo beside the snapshots says which
one was made of what, so that an unchanged source is not fetched again.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backends.atomic_files import sync_folder, write_atomic
from backends.contract.inspector import Json
from controller.data.cache_gc import touch, touch_snapshot
from controller.spec.data import FileFormat, Source

_CHUNK = 1 << 20
_ABANDONED_S = 24 * 3600
"""No fetch takes a day: what is older was killed."""

_PREFIX = ".fetch-"
_MEMOS = "memos"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A source's content, in a file."""

    path: Path
    """`<sha256>.jsonl`, or with the endings that a URL has."""
    display_path: str
    """What stands before `:17` in messages; no secret is in it."""
    format: FileFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """A source to fetch, and where things are."""

    source: Source
    folder: Path
    root: Path
    snapshots: Path
    environment: Mapping[str, str]


class SnapshotWriter:
    """A snapshot that is being written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        handle, name = tempfile.mkstemp(dir=folder, prefix=_PREFIX)
        self._file = os.fdopen(handle, "wb", buffering=_CHUNK)
        self._temporary = Path(name)
        self._sha256 = hashlib.sha256()

    def write(self, content: bytes) -> None:
        """Add bytes."""
        self._sha256.update(content)
        self._file.write(content)

    def publish(self, endings: str) -> Path:
        """Give the whole content its name and return it; the same content is not written twice.

        Args:
            endings: `.jsonl`, `.csv.gz`.
        """
        self._file.flush()
        path = self._folder / f"{self._sha256.hexdigest()}{endings}"
        if holds(path):
            touch_snapshot(path)
        else:
            os.fsync(self._file.fileno())
            # mkstemp makes 0600; a cache may be shared like the rest of the state folder.
            self._temporary.chmod(0o644)
            self._temporary.replace(path)
            sync_folder(self._folder)
        return path

    def close(self) -> None:
        """Remove what was not published."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)


@contextmanager
def new_snapshot(snapshots: Path) -> Iterator[SnapshotWriter]:
    """Begin a snapshot; what is not published by the end of the block is gone.

    Args:
        snapshots: Folder of all snapshots; created when absent.
    """
    snapshots.mkdir(parents=True, exist_ok=True)
    _sweep(snapshots)
    begun = SnapshotWriter(snapshots)
    try:
        yield begun
    finally:
        begun.close()


def holds(path: Path) -> bool:
    """Say whether a snapshot is there and its bytes are what its name says."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == path.name.partition(".")[0]
    except FileNotFoundError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Memo:
    """Which snapshot was made of a source, and of which version of it."""

    path: Path
    """The snapshot; it was whole a moment ago."""
    version: Json
    """Whatever says that the source is unchanged: an ETag, a commit, the files' stamps."""


def find_memo(snapshots: Path, key: Json) -> Memo | None:
    """Return what is known of a source, if its snapshot is still whole.

    Args:
        snapshots: Folder of all snapshots.
        key: What the source is. Only its digest is kept: a URL may hold a token.
    """
    memo = _memo(snapshots, key)
    try:
        content = json.loads(memo.read_bytes())
        path = snapshots / content["snapshot"]
        # A snapshot is written once: one whose times are others is read before it is believed.
        if content["stamp"] == stamp(path) or holds(path):
            touch_snapshot(path)
            touch(memo)
            return Memo(path=path, version=content["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def save_memo(snapshots: Path, key: Json, memo: Memo) -> None:
    """Note which snapshot a source led to."""
    content = {"snapshot": memo.path.name, "stamp": stamp(memo.path), "version": memo.version}
    write_atomic(_memo(snapshots, key), json.dumps(content).encode())


def stamp(path: Path) -> list[int]:
    """Return what changes when a file does: where it is, its size and times.

    Raises:
        OSError: It is not there.
    """
    status = path.stat()
    return [
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    ]


def _memo(snapshots: Path, key: Json) -> Path:
    text = json.dumps(key, sort_keys=True).encode()
    return snapshots / _MEMOS / f"{hashlib.sha256(text).hexdigest()[:32]}.json"


def _sweep(snapshots: Path) -> None:
    """Remove what fetches left that were killed."""
    for left in snapshots.glob(f"{_PREFIX}*"):
        try:
            if time.time() - left.stat().st_mtime > _ABANDONED_S:
                left.unlink()
        except FileNotFoundError:
            continue
