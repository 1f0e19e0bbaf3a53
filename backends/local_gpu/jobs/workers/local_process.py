"""Workers of this machine: one child process per job, which outlives its parent.

A worker on another host, which shares the run folder, is followed by its heartbeat.
"""

import os
import signal
import time
from typing import Final

from backends.local_gpu.jobs.child_process import log_tail, python_module, spawn
from backends.local_gpu.jobs.run_dir import RunDir
from backends.local_gpu.jobs.worker_record import Worker, read_worker, write_worker
from backends.local_gpu.jobs.workers.process_identity import describe, is_alive, is_here, reap
from backends.local_gpu.jobs.workers.workers import LOG_LINES, WorkerState

HEARTBEAT_LOST_S: Final = 120.0
"""Seconds without a heartbeat after which a worker on another host counts as gone."""


class LocalProcess:
    """Implements `Workers`; see there for what each method promises."""

    def find(self, run: RunDir) -> Worker | None:
        """Return the worker of a run that was started last."""
        return read_worker(run)

    def submit(self, run: RunDir, lock: int, starts: int) -> None:
        """Start a child, which takes the lock over and waits for a device."""
        run.heartbeat.touch()
        command = python_module(
            "backends.local_gpu.jobs.device_queue", "train", str(run.path), str(lock)
        )
        write_worker(run, describe(spawn(command, run.log, lock), starts))

    def state(self, run: RunDir) -> WorkerState:
        """Return the state of the run's newest worker; log which signal ended it."""
        worker = read_worker(run)
        if worker is None:
            return WorkerState.GONE
        if not _lives(run, worker):
            _note_signal(run, worker)
            return WorkerState.GONE
        return WorkerState.WAITING if worker.device is None else WorkerState.WORKING

    def words(self, run: RunDir) -> str:
        """Return what a worker waits for, or why there is none."""
        if self.state(run) is WorkerState.WAITING:
            return "waiting for a free device"
        return "its process is gone; it continues when submitted"

    def ended(self, run: RunDir) -> None:
        """Do nothing: the workers of this machine read the same folder."""

    def stop(self, run: RunDir, *, at_once: bool) -> None:
        """Send a signal to the worker and its children, if it lives on this host."""
        worker = read_worker(run)
        if worker is None or not (is_here(worker) and is_alive(worker)):
            return
        try:
            os.killpg(worker.pid, signal.SIGKILL if at_once else signal.SIGTERM)
        except ProcessLookupError:
            return

    def logs(self, run: RunDir, lines: int = LOG_LINES) -> list[str]:
        """Return the last lines of the worker's output."""
        return log_tail(run.log, lines)


def _lives(run: RunDir, worker: Worker) -> bool:
    if is_here(worker):
        return is_alive(worker)
    try:
        seen_s = run.heartbeat.stat().st_mtime
    except FileNotFoundError:
        # The first heartbeat may still come.
        seen_s = worker.started_s
    return time.time() - seen_s < HEARTBEAT_LOST_S


def _note_signal(run: RunDir, worker: Worker) -> None:
    killed_by = reap(worker.pid)
    if killed_by is not None:
        with run.log.open("a", encoding="utf-8") as log:
            log.write(f"ftctl: process {worker.pid} was ended by {killed_by}\n")
