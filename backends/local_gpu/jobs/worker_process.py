"""Child processes that outlive their parent: starting one, and knowing whether one still lives.

A process is named by its ID, its start time, the host and that host's boot; an ID alone may have
been given to another process since.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from backends.atomic_files import write_atomic
from backends.contract.errors import BackendError
from backends.installation import install_command
from backends.local_gpu.jobs.run_dir import RunDir, encode, read_json

HEARTBEAT_S: Final = 5.0
"""How often a child says that it lives."""
HEARTBEAT_LOST_S: Final = 120.0
"""After this long without, a child on another host counts as gone."""

_PACKAGES: Final = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def require_packages() -> None:
    """Make sure that a child would find what it imports; imports nothing itself.

    Raises:
        BackendError: Something is not installed.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise BackendError(
            f"the local-gpu backend needs {', '.join(missing)}, which this Python does not have",
            install_command("local"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A child process, as `worker.json` names it."""

    pid: int
    start: str
    """When the kernel says it started; with the process ID it names a process for good."""
    host: str
    boot: str
    started_s: float
    starts: int
    """Starts in a row, this one included, without a new checkpoint."""
    device: str | None = None
    """What it works on; None while it waits."""


def describe(pid: int, starts: int, device: str | None = None) -> Worker:
    """Name a living process of this machine."""
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


def alive(worker: Worker, heartbeat: Path) -> bool:
    """Say whether a worker lives; on another host, its heartbeat has to tell."""
    if worker.host != socket.gethostname():
        try:
            return time.time() - heartbeat.stat().st_mtime < HEARTBEAT_LOST_S
        except FileNotFoundError:
            return time.time() - worker.started_s < HEARTBEAT_LOST_S
    if worker.boot != _boot():
        return False
    start, state = _start_and_state(worker.pid)
    return start == worker.start != "" and state not in {"Z", "X"}


def reap(pid: int) -> str | None:
    """Collect a dead child of this very process.

    Returns:
        How it was ended when a signal did it, such as `SIGKILL`; else None.
    """
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    if found == 0 or not os.WIFSIGNALED(status):
        return None
    return signal.Signals(os.WTERMSIG(status)).name


def stop(worker: Worker, heartbeat: Path, number: signal.Signals) -> None:
    """Send a signal to a worker's process group, if it is on this host and still that worker."""
    if worker.host == socket.gethostname() and alive(worker, heartbeat):
        try:
            os.killpg(worker.pid, number)
        except ProcessLookupError:
            return


def start(arguments: Sequence[str], log: Path, lock: int) -> int:
    """Start a Python module as a child in a session of its own, and leave it.

    Args:
        arguments: The module and its arguments.
        log: Both outputs are appended to it.
        lock: An open, locked file that the child keeps open: the lock lasts as long as it lives.

    Returns:
        The process ID.
    """
    os.set_inheritable(lock, True)  # noqa: FBT003 - the only way to call it
    # posix_spawn and not Popen: the child is left on purpose, and Popen warns of just that.
    return os.posix_spawn(
        sys.executable,
        # -P: a `json.py` in the folder where someone types `ftctl` must not become ours.
        [sys.executable, "-P", "-m", *arguments],
        child_environment(os.environ),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that a child computes in."""
    return {
        # Every core this process may use; the count decides the bits, so it is recorded too.
        "OMP_NUM_THREADS": str(_usable_cores()),
        # Spinning threads on a shared machine cost up to 17 times the run's time.
        "OMP_WAIT_POLICY": "PASSIVE",
        # cuBLAS computes the same bits twice only with a workspace of fixed size.
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        **environment,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
    }


def _usable_cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except FileNotFoundError:
        # Elsewhere a start time with its date tells boots apart well enough.
        return ""


def _start_and_state(pid: int) -> tuple[str, str]:
    """Return a process's start time and state letter; empty when there is no such process."""
    if Path("/proc/self/stat").exists():
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return "", ""
        # The command's name stands in brackets and may itself hold blanks and brackets.
        fields = text.rpartition(")")[2].split()
        state, threads, start = fields[0], int(fields[17]), fields[19]
        # The first thread may be gone while others still hold the process's files open.
        return start, "S" if state == "Z" and threads > 1 else state
    ps = shutil.which("ps") or "ps"
    asked = [ps, "-o", "lstart=,stat=", "-p", str(pid)]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    return (" ".join(answer[:-1]), answer[-1][0]) if answer else ("", "")


def exit_if_orphaned(parent: int, folder: Path) -> None:
    """End this process, and remove its folder, once the process that wants its answers is gone."""
    if os.getppid() != parent:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def record(run: RunDir, worker: Worker) -> None:
    """Write down who works in a run."""
    write_atomic(run.worker, encode({key: getattr(worker, key) for key in Worker.__slots__}))


def recorded(run: RunDir) -> Worker | None:
    """Read who works, or last worked, in a run."""
    raw = read_json(run.worker)
    try:
        return None if raw is None else Worker(**raw)
    except TypeError:
        return None
