"""The child process before it needs torch: wait for a device, then become the real work.

`python -m backends.local_gpu.jobs.device_queue train DIR [LOCK]`, `answer DIR` or `export DIR`. A
trainer outlives its parent; an engine and an export end with their input. Imports the standard library only, so that a
hundred waiting jobs need little memory. `execv` keeps the process ID and the locks, which the
kernel releases when the process dies.
"""

import os
import select
import shutil
import sys
import time
from pathlib import Path
from typing import Final, NoReturn

from backends.local_gpu.jobs.child_process import become, die_with_parent, python_module
from backends.local_gpu.jobs.devices import (
    DEVICE,
    DeviceLock,
    acquire,
    acquire_several,
    is_cpu,
    too_few,
    visible_devices,
)
from backends.local_gpu.jobs.rank_protocol import NODES
from backends.local_gpu.jobs.run_dir import RunDir, hardware_of, write_end
from backends.local_gpu.jobs.worker_record import read_worker, write_worker
from backends.local_gpu.jobs.workers.process_identity import describe
from backends.lock_files import hand_on, try_lock

_MODULES: Final = {
    "train": "backends.local_gpu.training.train",
    "answer": "backends.local_gpu.inference.engine_worker",
    "export": "backends.local_gpu.export.export_worker",
}
BOUND: Final = "FTCTL_ENDS_WITH"
"""Environment variable: process that a training does not outlive."""
_RANKS: Final = "backends.local_gpu.jobs.ranks"
"""Module that a trainer becomes that has several devices."""


def main(arguments: list[str]) -> int:
    """Wait for a device and become what works in a folder."""
    role, folder, *lock_of_parent = arguments[0], Path(arguments[1]).absolute(), *arguments[2:]
    if role in {"answer", "export"}:
        held = acquire(visible_devices(os.environ), lambda: _exit_if_input_ended(folder))
        _become(_MODULES[role], folder, [held])
    run = RunDir(path=folder)
    if lock_of_parent:
        _train(run)
        return 0
    lock = try_lock(run.lock)
    if lock is not None:
        hand_on(lock)
        _train(run)
    return 0


def _train(run: RunDir) -> None:
    parent = os.environ.pop(BOUND, None)
    if parent is not None:
        die_with_parent(int(parent))
    _stop_if_cancelled(run)
    devices, gpus = visible_devices(os.environ), hardware_of(run).gpus
    is_alone = gpus == 1
    gpus //= int(os.environ.get(NODES, "1"))
    lacking = too_few(gpus, devices)
    if lacking is not None:
        write_end(run, "failed", *lacking)
        sys.exit(1)
    held = acquire_several(devices, gpus, lambda: _wait(run))
    _stop_if_cancelled(run)
    # The parent may not have recorded this worker yet, or may have died before it could.
    known = read_worker(run)
    starts = known.starts if known is not None else 1
    write_worker(run, describe(os.getpid(), starts, _names(held)))
    _become(_MODULES["train"] if is_alone else _RANKS, run.path, held)


def _wait(run: RunDir) -> None:
    """Show that the waiting worker lives, at most once a second."""
    if time.time() - run.heartbeat.stat().st_mtime > 1:
        run.heartbeat.touch()
        _stop_if_cancelled(run)


def _stop_if_cancelled(run: RunDir) -> None:
    if run.cancel.exists():
        write_end(run, "cancelled", "cancelled before it started")
        sys.exit(0)


def _exit_if_input_ended(folder: Path) -> None:
    """End this process and remove its folder if the process that asks has closed it or died."""
    hung_up = select.poll()
    hung_up.register(sys.stdin, 0)
    if hung_up.poll(0):
        shutil.rmtree(folder, ignore_errors=True)
        sys.exit(1)


def _become(module: str, folder: Path, held: list[DeviceLock]) -> NoReturn:
    for one in held:
        hand_on(one.handle)
    names = _names(held)
    environment = os.environ | {DEVICE: names}
    # An empty list hides every GPU from a job that was given the CPU.
    environment["CUDA_VISIBLE_DEVICES"] = "" if is_cpu(names) else names
    become(python_module(module, str(folder)), environment)


def _names(held: list[DeviceLock]) -> str:
    return ",".join(one.device for one in held)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
