"""Tell a living process from one that ended and whose ID another process has now.

Reads /proc, and not by the package psutil: psutil counts a start time from the clock, so that a
corrected clock would make a living worker a stranger. It also needs 25 ms and 4 MB to import, in
every process that waits for a device.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

from backends.local_gpu.jobs.worker_record import Worker

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_DEAD: Final = frozenset({"Z", "X"})
"""State letters of processes that have ended."""


def describe(pid: int, starts: int, device: str | None = None) -> Worker:
    """Return the record of a living process of this machine."""
    start, _ = _start_and_state(pid)
    return Worker(
        pid=pid,
        start=start,
        host=socket.gethostname(),
        boot=_boot(),
        started_s=time.time(),
        starts=starts,
        device=device,
    )


def is_here(worker: Worker) -> bool:
    """Return True if a worker runs, or ran, on this host."""
    return worker.host == socket.gethostname()


def is_alive(worker: Worker) -> bool:
    """Return True if a worker of this host lives."""
    if worker.boot != _boot():
        return False
    start, state = _start_and_state(worker.pid)
    return start == worker.start != "" and state not in _DEAD


def reap(pid: int) -> str | None:
    """Collect a dead child of this process.

    Returns:
        The signal that ended the child, such as `SIGKILL`; else None.
    """
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    if found == 0 or not os.WIFSIGNALED(status):
        return None
    return signal.Signals(os.WTERMSIG(status)).name


def _boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except FileNotFoundError:
        # On other systems, a start time contains its date.
        return ""


def _start_and_state(pid: int) -> tuple[str, str]:
    """Return a process's start time and state letter; both empty if the process does not exist."""
    if Path("/proc/self/stat").exists():
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return "", ""
        # The command's name is in brackets, and may itself contain blanks and brackets.
        fields = text.rpartition(")")[2].split()
        state, threads, start = fields[0], int(fields[17]), fields[19]
        # The first thread may have ended while others still have the process's files open.
        return start, "S" if state == "Z" and threads > 1 else state
    ps = shutil.which("ps") or "ps"
    command = [ps, "-o", "lstart=,stat=", "-p", str(pid)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return (" ".join(answer[:-1]), answer[-1][0]) if answer else ("", "")
