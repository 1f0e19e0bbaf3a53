"""The processes of one job on several devices: one for each device, and this one, which starts them.

`python -m backends.local_gpu.jobs.ranks DIR`, which `device_queue` becomes once it has the devices.
The variables that a process reads have torchrun's names. torchrun itself puts each process into a
session of its own, where a signal to the job misses it, closes the locks of the job's devices, and
kills after 30 seconds what still saves a checkpoint.

Whatever ends one process unexpectedly ends all of them, and the job continues from its newest
checkpoint when it is submitted again. Imports the standard library only.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from backends.local_gpu.jobs.child_process import become, die_with_parent, python_module
from backends.local_gpu.jobs.devices import DEVICE, is_cpu
from backends.local_gpu.jobs.rank_protocol import AGAIN, LOST, NODE, NODES, RENDEZVOUS, STOPPED
from backends.local_gpu.jobs.run_dir import RunDir

_MODULE: Final = "backends.local_gpu.training.train"
_LOOK_S: Final = 0.1
_GRACE_S: Final = 30.0
"""Seconds that the others may take to end once the first process has ended as it should."""
_CAUSE_S: Final = 2.0
"""Seconds until the end of the process that another one has lost is known."""
_PLACE: Final = ((NODE, "0"), (NODES, "1"))
_INTERFACES: Final = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_LOOPBACK: Final = "lo" if sys.platform == "linux" else "lo0"


def main(arguments: list[str]) -> int:
    """Run the processes of a job; return the exit status of the job."""
    run, devices = RunDir(path=Path(arguments[0]).absolute()), os.environ[DEVICE].split(",")
    while True:
        status = _follow(run, devices)
        # On several nodes, all end; the job continues when it is submitted again.
        if status != AGAIN or NODES in os.environ:
            return status


@dataclass(slots=True)
class Ends:
    """Ends of the processes of a job. A process that lost another one is never the cause."""

    status: int = 0
    """Exit status of the first process, if all ended as they should."""
    cause: tuple[int, int, int] | None = None
    """Rank, process and exit status of the first unexpected end."""
    lost: tuple[int, int, int] | None = None
    """The same of the first process that lost another one."""
    deadline: float = float("inf")
    """Time of the monotonic clock at which those that are left are killed."""

    def add(self, rank: int, pid: int, code: int, now: float) -> bool:
        """Note how a process has ended; return True if the others are to be killed at once."""
        if now > self.deadline:
            return False
        if code in {0, STOPPED}:
            self.status = code if rank == 0 else self.status
            # The first process writes the model, and the others are not needed for that.
            if rank == 0 or code == STOPPED:
                self.deadline = min(self.deadline, now + _GRACE_S)
            return False
        if code == LOST:
            self.lost = self.lost or (rank, pid, code)
            self.deadline = min(self.deadline, now + _CAUSE_S)
            return False
        self.cause = self.cause or (rank, pid, code)
        return True

    @property
    def blamed(self) -> tuple[int, int, int] | None:
        """Rank, process and exit status of the process that ended the job; None if none did."""
        return self.cause or self.lost


def _follow(run: RunDir, devices: list[str]) -> int:
    """Start the processes, and wait until all have ended."""
    # Processes that were killed leave it behind.
    run.rendezvous.unlink(missing_ok=True)
    ranks: dict[int, int] = {}

    def hand_on_signal(number: int, frame: object) -> None:
        del frame
        _send(ranks, number)

    signal.signal(signal.SIGTERM, hand_on_signal)
    for rank in range(len(devices)):
        ranks[_start(run, devices, rank)] = rank
    ends = Ends()
    while ranks:
        if time.monotonic() > ends.deadline:
            _send(ranks, signal.SIGKILL)
        pid, code = _ended()
        if pid in ranks and ends.add(ranks.pop(pid), pid, code, time.monotonic()):
            _send(ranks, signal.SIGKILL)
    run.rendezvous.unlink(missing_ok=True)
    if ends.blamed is None:
        return ends.status
    *who, status = ends.blamed
    if status != AGAIN:
        _report(who[0], who[1], status)
    return status if status > 0 else 128 - status


def _start(run: RunDir, devices: list[str], rank: int) -> int:
    """Start a process; return its ID."""
    here = os.getpid()
    pid = os.fork()
    return pid or _become(run, devices, rank, here)


def _become(run: RunDir, devices: list[str], rank: int, parent: int) -> NoReturn:
    """Become the process of a rank, which does not outlive its parent."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(parent)
    device, count = devices[rank], len(devices)
    node, nodes = (int(os.environ.get(name, default)) for name, default in _PLACE)
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    environment = {
        # Between nodes, the libraries find the interface themselves.
        **(dict.fromkeys(_INTERFACES, _LOOPBACK) if nodes == 1 else {}),
        **os.environ,
        DEVICE: device,
        "CUDA_VISIBLE_DEVICES": "" if is_cpu(device) else device,
        "OMP_NUM_THREADS": str(max(1, int(threads) // count)) if threads.isdigit() else threads,
        "RANK": str(node * count + rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(nodes * count),
        RENDEZVOUS: os.environ.get(RENDEZVOUS, str(run.rendezvous)),
    }
    become(python_module(_MODULE, str(run.path)), environment)


def _ended() -> tuple[int, int]:
    """Return a process that has ended and its exit status; (0, 0) if none has for a moment."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0, 0
    if pid == 0:
        time.sleep(_LOOK_S)
        return 0, 0
    return pid, os.waitstatus_to_exitcode(status)


def _send(ranks: dict[int, int], number: int) -> None:
    for pid in list(ranks):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _report(rank: int, pid: int, code: int) -> None:
    """Write to the log how a process ended that should not have."""
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    sys.stderr.write(f"ftctl: process {pid} of device {rank + 1} {how}; the others end with it\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
