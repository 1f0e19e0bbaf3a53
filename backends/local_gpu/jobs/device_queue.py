"""The child process before it needs torch: wait for a device, then become the real work.

`python -m backends.local_gpu.jobs.device_queue train DIR [LOCK]`, or `complete DIR PARENT`: a trainer outlives
its parent, a completion whose caller is gone does not. Standard library only, so that a hundred queued jobs weigh nothing. Becoming (`execv`) keeps the process ID and the locks, which the
kernel releases when the process dies.
"""

import fcntl
import os
import sys
import time
from pathlib import Path
from typing import Final

from backends.local_gpu.jobs.devices import DEVICE, Held, acquire, visible
from backends.local_gpu.jobs.run_dir import RunDir, write_end
from backends.local_gpu.jobs.worker_process import (
    Worker,
    describe,
    exit_if_orphaned,
    record,
    recorded,
    start,
)

_MODULES: Final = {
    "train": "backends.local_gpu.training.train",
    "complete": "backends.local_gpu.inference.completion_worker",
}


def main(arguments: list[str]) -> int:
    """Wait for a device and become the trainer or the completer of a folder."""
    role, folder, *parents = arguments[0], Path(arguments[1]).absolute(), *arguments[2:]
    if role == "complete":
        parent = int(parents[0])
        held = acquire(visible(os.environ), lambda: exit_if_orphaned(parent, folder))
        _become(role, [str(folder), str(parent)], held)
    run = RunDir(path=folder)
    if parents:  # the parent process took the lock and handed it on
        _train(run)
        return 0
    lock = lock_run(run)
    if lock is not None:
        os.set_inheritable(lock, True)  # noqa: FBT003 - the only way to call it
        _train(run)
    return 0


def lock_run(run: RunDir) -> int | None:
    """Take a run's lock; None when another process has it."""
    handle = os.open(run.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def launch(run: RunDir, lock: int, starts: int) -> Worker:
    """Start the child of a run whose lock this process holds; the child takes the lock over."""
    run.heartbeat.touch()
    arguments = ["backends.local_gpu.jobs.device_queue", "train", str(run.path), str(lock)]
    worker = describe(start(arguments, run.log, lock), starts)
    record(run, worker)
    return worker


def _train(run: RunDir) -> None:
    _stop_if_cancelled(run)
    held = acquire(visible(os.environ), lambda: _wait(run))
    _stop_if_cancelled(run)
    # The parent may not have come to write this yet, or may have died before it could.
    known = recorded(run)
    starts = known.starts if known is not None else 1
    record(run, describe(os.getpid(), starts, held.device))
    _become("train", [str(run.path)], held)


def _wait(run: RunDir) -> None:
    """Show that the queued child lives, at most once a second."""
    if time.time() - run.heartbeat.stat().st_mtime > 1:
        run.heartbeat.touch()
        _stop_if_cancelled(run)


def _stop_if_cancelled(run: RunDir) -> None:
    if run.cancel.exists():
        write_end(run, "cancelled", "cancelled before it started")
        sys.exit(0)


def _become(role: str, rest: list[str], held: Held) -> None:
    os.set_inheritable(held.handle, True)  # noqa: FBT003 - the only way to call it
    environment = os.environ | {DEVICE: held.device}
    # An empty list hides every GPU from a job that was given the CPU.
    environment["CUDA_VISIBLE_DEVICES"] = "" if held.device == "cpu" else held.device
    arguments = [sys.executable, "-P", "-m", _MODULES[role], *rest]
    os.execve(sys.executable, arguments, environment)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
