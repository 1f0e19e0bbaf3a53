"""Remove cache entries that were unused for a month: datasets, snapshots, memos, token counts.

Leftovers of killed builds are removed after a day. Everything can be made again from the sources,
so only age decides. A dataset is used when it is found, a snapshot when its source leads to it.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

UNUSED_S = 30 * 24 * 3600
"""A month: longer than most pull requests are open."""

_DAY_S = 24 * 3600
_COLLECTED = "collected"
_USED = "used"
"""Folder beside snapshots: its empty files have the times when the snapshots were used."""


def touch(entry: Path | str) -> None:
    """Record that a dataset or a memo was used, to the day."""
    with suppress(OSError):
        # Reading the time takes a tenth of the time of writing it.
        if not 0 <= time.time() - os.lstat(entry).st_mtime < _DAY_S:
            os.utime(entry)


def touch_snapshot(snapshot: Path) -> None:
    """Record that a snapshot was used.

    Its own times stay: with other times it would be read again.
    """
    used = snapshot.parent / _USED / snapshot.name
    with suppress(OSError):
        used.parent.mkdir(exist_ok=True)
        used.touch()


def collect_garbage_daily(cache: Path) -> None:
    """Remove entries that were unused for a month, at most once a day."""
    stamp = cache / _COLLECTED
    with suppress(OSError):
        if 0 <= time.time() - stamp.stat().st_mtime < _DAY_S:
            return
    if cache.is_dir():
        with suppress(OSError):
            stamp.touch()
        collect_garbage(cache)


def collect_garbage(cache: Path, unused_s: float = UNUSED_S) -> int:
    """Remove entries that were unused for `unused_s` seconds.

    Returns:
        Number of removed datasets and files.
    """
    removed = 0
    for path in _entries(cache):
        # No build takes a day: older leftovers are of killed builds.
        limit_s = min(unused_s, _DAY_S) if path.name.startswith(".") else unused_s
        with suppress(OSError):
            if time.time() - _used_s(path) > limit_s:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed += 1
    return removed


def _used_s(path: Path) -> float:
    used_s = path.lstat().st_mtime
    with suppress(FileNotFoundError):
        used_s = max(used_s, (path.parent / _USED / path.name).stat().st_mtime)
    return used_s


def _entries(cache: Path) -> Iterator[Path]:
    for kind in ("datasets", "retained", "lengths", "statistics", "looks"):
        yield from cache.glob(f"{kind}/*")
    yield from (path for path in cache.glob("snapshots/**/*") if not path.is_dir())
