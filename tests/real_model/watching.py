"""What processes cost, read from /proc while they run."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_EVERY_S: Final = 0.2
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Cost:
    """Cost of all processes whose command line holds a text."""

    cpu: dict[int, float] = field(default_factory=dict)
    """Seconds on all cores, by process."""
    peak_mb: float = 0.0
    """Highest resident memory of any one of them."""
    began: float | None = None
    ended: float = 0.0

    @property
    def seconds(self) -> float:
        """Time from the first look at which one ran to the last."""
        return self.ended - (self.began if self.began is not None else self.ended)

    @property
    def cpu_s(self) -> float:
        """Time on all cores."""
        return sum(self.cpu.values())


@contextmanager
def watched(*marks: str) -> Iterator[Cost]:
    """Watch the processes whose command lines hold all marks until the end of the block."""
    cost, over = Cost(), threading.Event()
    watching = threading.Thread(target=_watch, args=(marks, cost, over), daemon=True)
    watching.start()
    try:
        yield cost
    finally:
        over.set()
        watching.join(timeout=10)


def _watch(marks: tuple[str, ...], cost: Cost, over: threading.Event) -> None:
    while not over.wait(_EVERY_S):
        for path in Path("/proc").glob("[0-9]*"):
            try:
                command = (path / "cmdline").read_bytes().decode(errors="replace")
                if not all(mark in command for mark in marks) or int(path.name) == os.getpid():
                    continue
                # Behind the name in brackets: state, parent, …; 11 and 12 are user and system ticks.
                numbers = (path / "stat").read_text().rpartition(")")[2].split()
                peak = [line for line in (path / "status").open() if line.startswith("VmHWM")]
            except OSError:
                continue
            cost.cpu[int(path.name)] = (int(numbers[11]) + int(numbers[12])) / _TICKS
            if peak:
                cost.peak_mb = max(cost.peak_mb, int(peak[0].split()[1]) * 1024 / 1e6)
            cost.ended = time.monotonic()
            if cost.began is None:
                cost.began = cost.ended
