"""Snapshot files: hashed while they are written, named by their content.

A snapshot appears by one rename, complete and forced to the disk; a killed process leaves only a
temporary file, which a later run removes once it is old. A memo beside the snapshots records which
of them was made from which source, so that an unchanged source is not fetched again.
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
from controller.data.storage.memo_file import file_stamp, read_json_memo
from controller.spec.data import Source

_CHUNK = 1 << 20
_ABANDONED_S = 24 * 3600
"""No fetch takes a day: older temporary files are of killed processes."""

_PREFIX = ".fetch-"
_MEMOS = "memos"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """A source to fetch, and the folders and variables that it needs."""

    source: Source
    """A source with `sql`, `hub` or `url`."""
    root: Path
    """The repository; the path of a SQLite file is relative to it."""
    snapshots: Path
    """Folder of all snapshots; created when absent."""
    environment: Mapping[str, str]
    """Variables with the URLs of databases and the hub's token."""


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
        """Give the content its name and return it; equal content is not written twice."""
        self._file.flush()
        path = self._folder / f"{self._sha256.hexdigest()}{endings}"
        if is_complete(path):
            touch_snapshot(path)
        else:
            os.fsync(self._file.fileno())
            # mkstemp makes 0600; a cache may be shared like the rest of the state folder.
            self._temporary.chmod(0o644)
            self._temporary.replace(path)
            sync_folder(self._folder)
        return path

    def close(self) -> None:
        """Remove a snapshot that was not published."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)


@contextmanager
def new_snapshot(snapshots: Path) -> Iterator[SnapshotWriter]:
    """Begin a snapshot; at the end of the block it is removed unless it was published."""
    snapshots.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(snapshots)
    writer = SnapshotWriter(snapshots)
    try:
        yield writer
    finally:
        writer.close()


def is_complete(path: Path) -> bool:
    """Return whether a snapshot exists and its bytes fit its name."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == path.name.partition(".")[0]
    except FileNotFoundError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Memo:
    """A source's snapshot, and the version of the source."""

    path: Path
    version: Json
    """Value that differs for a changed source: an ETag, a commit, the files' stamps."""


def find_memo(snapshots: Path, key: Json) -> Memo | None:
    """Return the memo of a source, if its snapshot is still complete.

    Args:
        snapshots: Folder of all snapshots.
        key: Identity of the source. Only its digest is stored: a URL may hold a token.
    """
    memo = _memo(snapshots, key)
    content = read_json_memo(memo)
    try:
        path = snapshots / content["snapshot"]
        # A snapshot is written once: one with another stamp is read before it is trusted.
        if tuple(content["stamp"]) == file_stamp(path) or is_complete(path):
            touch_snapshot(path)
            touch(memo)
            return Memo(path=path, version=content["version"])
    except (OSError, KeyError, TypeError):
        return None
    return None


def save_memo(snapshots: Path, key: Json, memo: Memo) -> None:
    """Record the snapshot of a source."""
    stamp = list(file_stamp(memo.path))
    content = {"snapshot": memo.path.name, "stamp": stamp, "version": memo.version}
    write_atomic(_memo(snapshots, key), json.dumps(content).encode())


def _memo(snapshots: Path, key: Json) -> Path:
    text = json.dumps(key, sort_keys=True).encode()
    return snapshots / _MEMOS / f"{hashlib.sha256(text).hexdigest()[:32]}.json"


def _remove_abandoned(snapshots: Path) -> None:
    for path in snapshots.glob(f"{_PREFIX}*"):
        try:
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                path.unlink()
        except FileNotFoundError:
            continue
