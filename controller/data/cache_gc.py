"""Remove what nobody has used for a month: built datasets, snapshots, memos, lengths.

What killed builds left goes after a day. Everything here can be made again from the sources, so that age alone decides. A dataset counts as
used whenever it is found instead of built, a snapshot whenever its source still leads to it.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

UNUSED_S = 30 * 24 * 3600
"""A month: longer than most pull requests live, shorter than a disk takes to fill."""

_EVERY_S = 24 * 3600
_ABANDONED_S = 24 * 3600
"""No build takes a day: what is older was killed."""
_COLLECTED = "collected"
_USED = "used"
"""Beside snapshots: a folder of empty files that say by their times when each was used."""


def touch(kept: Path | str) -> None:
    """Remember that a dataset or a memo was used, on the day at least."""
    with suppress(OSError):
        # Asking takes a tenth of the time of writing.
        if not 0 <= time.time() - os.lstat(kept).st_mtime < _EVERY_S:
            os.utime(kept)


def touch_snapshot(snapshot: Path) -> None:
    """Remember that a snapshot was used.

    It is not touched itself: with other times it would be read again.
    """
    used = snapshot.parent / _USED / snapshot.name
    with suppress(OSError):
        used.parent.mkdir(exist_ok=True)
        used.touch()


def collect_garbage_daily(cache: Path) -> None:
    """Remove what was not used for a month, unless that was done within the last day.

    Args:
        cache: Folder of all that `controller.data` keeps; nothing happens when it is absent.
    """
    stamp = cache / _COLLECTED
    with suppress(OSError):
        if 0 <= time.time() - stamp.stat().st_mtime < _EVERY_S:
            return
    if cache.is_dir():
        with suppress(OSError):
            stamp.touch()
        collect_garbage(cache)


def collect_garbage(cache: Path, unused_s: float = UNUSED_S) -> int:
    """Remove what was not used for so long.

    Args:
        cache: Folder of all that `controller.data` keeps.
        unused_s: Seconds.

    Returns:
        How many datasets and files were removed.
    """
    removed = 0
    for path in _kept(cache):
        is_left = path.name.startswith(".")
        with suppress(OSError):
            if time.time() - _used_s(path) > (min(unused_s, _ABANDONED_S) if is_left else unused_s):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed += 1
    return removed


def _used_s(path: Path) -> float:
    used_s = path.lstat().st_mtime
    with suppress(FileNotFoundError):
        used_s = max(used_s, (path.parent / _USED / path.name).stat().st_mtime)
    return used_s


def _kept(cache: Path) -> Iterator[Path]:
    yield from cache.glob("datasets/*")
    yield from cache.glob("lengths/*")
    yield from cache.glob("statistics/*")
    yield from cache.glob("looks/*")
    yield from (path for path in cache.glob("snapshots/**/*") if not path.is_dir())
