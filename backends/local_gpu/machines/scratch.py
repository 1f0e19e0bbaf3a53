"""The folder of a worker on the disk of its own machine."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from backends.lock_files import try_lock

SCRATCH: Final = "FTCTL_SCRATCH"
"""Environment variable: folder for the work of workers; a temporary one when it is not set."""
_LOCK: Final = "worker.lock"
_WORKER: Final = re.compile(r"[0-9a-f]{16}-[0-9]+(-node-[0-9]+)?-[0-9]+")
"""Name of a worker's folder: its run, its node if that is not the first, and its claim."""
BASES: Final = "bases"
"""Folder of base models, beside those of the workers, who share them."""


def scratch_root() -> Path:
    """Return the folder in which the workers of this machine have theirs; it may not exist yet."""
    named = os.environ.get(SCRATCH)
    return Path(named or Path(tempfile.gettempdir()) / f"ftctl-workers-{os.getuid()}").absolute()


@contextmanager
def scratch_folder(run: str, generation: int) -> Iterator[Path]:
    """Give a worker a folder of its own for as long as the block takes.

    What workers left here that were killed is removed before.

    Args:
        run: Name of the run.
        generation: Number of the claim.
    """
    root = scratch_root()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(root)
    folder = root / f"{run}-{generation}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    lock = try_lock(folder / _LOCK)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _sweep(root: Path) -> None:
    for folder in root.iterdir():
        # People may name a disk on which they have other folders too.
        if not (_WORKER.fullmatch(folder.name) and (folder / _LOCK).exists()):
            continue
        try:
            lock = try_lock(folder / _LOCK)
        except FileNotFoundError:
            continue  # removed meanwhile
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
