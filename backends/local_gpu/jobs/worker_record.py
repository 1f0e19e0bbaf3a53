"""The record of the process that works, or last worked, in a run folder.

A process is named by its ID, its start time, its host and that host's boot: the kernel gives an ID
to another process once the first has ended.
"""

from dataclasses import dataclass
from typing import Final

from backends.atomic_files import write_atomic
from backends.local_gpu.jobs.run_dir import RunDir
from backends.local_gpu.json_files import json_bytes, read_json

HEARTBEAT_S: Final = 5.0
"""Seconds between two signs of life of a worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process as `worker.json` names it."""

    pid: int
    start: str
    """Start time of the process, as the kernel counts it since the boot."""
    host: str
    boot: str
    """ID of the host's boot."""
    started_s: float
    """Time at which the process was recorded."""
    starts: int
    """Starts in a row, this start included, without a new checkpoint."""
    device: str | None = None
    """Device of the process; None while it waits."""


def write_worker(run: RunDir, worker: Worker) -> None:
    """Record the worker of a run."""
    write_atomic(run.worker, json_bytes({key: getattr(worker, key) for key in Worker.__slots__}))


def read_worker(run: RunDir) -> Worker | None:
    """Read the record of the worker that works, or last worked, in a run."""
    raw = read_json(run.worker)
    try:
        return None if raw is None else Worker(**raw)
    except TypeError:
        return None
