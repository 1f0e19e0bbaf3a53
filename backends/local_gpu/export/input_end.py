"""End a child process as soon as its input ends, so that it never outlives its parent."""

import os
import threading


def end_with_input() -> None:
    """Start a thread that ends this process once the parent has closed its input or died."""
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    # Not `sys.stdin`: Python locks it to end, and a thread that reads holds the lock.
    while os.read(0, 1):
        pass
    os._exit(1)
