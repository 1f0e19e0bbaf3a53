"""Lock files that the kernel releases when their holder dies, and that a child can take over.

`flock` and not the package filelock: that closes its descriptor on `exec`, so that no child can
take a lock over. It also needs 40 ms and 8 MB to import, in every process that waits for a device.
"""

import fcntl
import os
from pathlib import Path


def try_lock(path: Path) -> int | None:
    """Take a lock without waiting.

    Args:
        path: The lock file; made if it is absent.

    Returns:
        The open file, which holds the lock until every process that has it open closes it or dies.
        None if another process has the lock.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def hand_on(handle: int) -> None:
    """Let processes that this process starts, or becomes, keep a lock."""
    os.set_inheritable(handle, True)  # noqa: FBT003 - the only way to call it
