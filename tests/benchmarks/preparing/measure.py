"""Run a command, and note what it and all processes below it cost."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INTERVAL_S = 0.05
SHARED_EVERY = 5
"""Who shares what takes the kernel a while to say, so it is asked at every so manieth look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one whole command cost."""

    command_s: float
    """Start of the process to its end."""
    peak_mb: float
    """Highest sum of the resident memory of all its processes at one moment."""
    once_mb: float
    """The same with every page once that several of them share."""
    read_bytes: int
    """Given to it and everything it waited for by read calls, from a disk or not."""
    output: str

    def said(self) -> dict[str, float]:
        """Return the last line of its output that is JSON; warnings may follow it."""
        lines = [line for line in self.output.splitlines() if line.startswith('{"seconds"')]
        found: dict[str, float] = json.loads(lines[-1])
        return found


def measure(
    command: Sequence[str], environment: Mapping[str, str], expected: Sequence[int] = (0,)
) -> Measured:
    """Run a command to its end, or end this program with what it said."""
    read = _read_bytes()
    started = time.perf_counter()
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=dict(environment),
        start_new_session=True,
    )
    peaks = [0.0, 0.0]
    over = threading.Event()
    watching = threading.Thread(target=_watch, args=(child.pid, peaks, over))
    watching.start()
    output = child.communicate()[0]
    command_s = time.perf_counter() - started
    over.set()
    watching.join()
    if child.returncode not in expected:
        sys.exit(f"{' '.join(command)}: ended with {child.returncode}\n{output[-4000:]}")
    return Measured(
        command_s=command_s,
        peak_mb=peaks[0] / 1e6,
        once_mb=peaks[1] / 1e6,
        read_bytes=_read_bytes() - read,
        output=output,
    )


def _read_bytes() -> int:
    """Return what this process and the children it waited for were given by read calls."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1])
    return 0


def _watch(top: int, peaks: list[float], over: threading.Event) -> None:
    looks = 0
    while not over.wait(INTERVAL_S):
        pids = _below(top)
        peaks[0] = max(peaks[0], sum(_size(pid, "status", b"VmRSS:") for pid in pids))
        if looks % SHARED_EVERY == 0:
            peaks[1] = max(peaks[1], sum(_size(pid, "smaps_rollup", b"Pss:") for pid in pids))
        looks += 1


def _size(pid: int, file: str, field: bytes) -> int:
    """Return a size in bytes; none of a process that has just ended."""
    try:
        text = Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def _below(top: int) -> set[int]:
    """Return a process, its children and theirs, and whoever is left of its session."""
    children: dict[int, list[int]] = {}
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        # The name of the program, in brackets, may hold anything.
        parent, _, session = text.rpartition(b")")[2].split()[1:4]
        pid = int(path.parent.name)
        children.setdefault(int(parent), []).append(pid)
        if int(session) == top:
            found.add(pid)
    waiting = [top]
    while waiting:
        pid = waiting.pop()
        found.add(pid)
        waiting += children.get(pid, [])
    return found
