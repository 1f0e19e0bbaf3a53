"""Remove what nobody has used for a month: built datasets, snapshots, memos, lengths.

Everything here can be made again from the sources, so that age alone decides. A dataset counts as
used whenever it is found instead of built, or compared with another one.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

UNUSED_S = 30 * 24 * 3600
"""A month: longer than most pull requests live, shorter than a disk takes to fill."""


def touch(folder: Path) -> None:
    """Remember that a dataset was used."""
    with suppress(OSError):
        os.utime(folder)


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
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > unused_s:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed += 1
    return removed


def _kept(cache: Path) -> Iterator[Path]:
    yield from cache.glob("datasets/*")
    yield from cache.glob("lengths/*")
    yield from cache.glob("statistics/*")
    yield from cache.glob("looks/*")
    yield from (path for path in cache.glob("snapshots/**/*") if not path.is_dir())
