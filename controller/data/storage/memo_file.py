"""Memo files of the cache: results that a later command reads instead of computing them again.

A memo that is lost, torn or damaged costs the time to compute it again, and nothing else.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from backends.atomic_files import write_atomic
from backends.contract.inspector import Json

Stamp: TypeAlias = tuple[int, ...]
"""Device, inode, size, and times of the last change of a file's contents and of its status."""

_DIGEST = 32


def stamp_of(status: os.stat_result) -> Stamp:
    """Return what differs for another file, or after a change."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def file_stamp(path: Path) -> Stamp:
    """Return the stamp of a file."""
    return stamp_of(path.stat())


def changed_ns(stamp: Stamp) -> int:
    """Return the time of the last change that a stamp tells, in nanoseconds since the epoch."""
    return max(stamp[3:])


def cached_bytes(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the bytes of a memo, computed if the memo does not fit its own digest."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    data = content[_DIGEST:]
    if hashlib.sha256(data).digest() == content[:_DIGEST]:
        return data
    data = make()
    write_atomic(path, hashlib.sha256(data).digest() + data)
    return data


def read_json_memo(path: Path) -> dict[str, Any]:
    """Return the content of a memo; empty if the memo is missing or damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json_memo(path: Path, content: Mapping[str, Json]) -> None:
    """Replace a memo by one rename, without waiting for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(json.dumps(content).encode())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
