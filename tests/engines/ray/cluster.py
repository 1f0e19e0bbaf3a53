"""A real Ray cluster on this machine: a head and a worker node on two loopback addresses.

`ray start --block` keeps the processes of a node below one process, so that a test finds those that it
kills. Ray listens at all addresses, so the cluster wants a token.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from backends.launchers.launcher import LauncherError
from backends.launchers.table import open_launcher
from tests.children import child

HEAD, WORKER = "127.0.0.2", "127.0.0.3"
"""Ray replaces 127.0.0.1 by the machine's own address."""
_START_S = 300.0
_AGENTS = ("dashboard-agent-grpc", "dashboard-agent-listen", "metrics-export", "runtime-env-agent")
_PATIENCE = {
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
}
"""Limits of Ray that a busy machine needs longer for."""
_MARK = "FTCTL_TEST_CLUSTER"


class Cluster:
    """The cluster. Use as a context manager; all its processes end with it.

    Attributes:
        url: Address of the dashboard.
        token: Token that it asks for.
    """

    def __init__(self, cpus: int = 1) -> None:
        self.cpus = cpus
        self.token = secrets.token_hex(16)
        self._gcs, self._dashboard, self._client = (_free_port() for _ in range(3))
        self.url = f"http://127.0.0.1:{self._dashboard}"
        # Paths of sockets are at most 107 characters long.
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir=os.path.realpath("/tmp")))
        self._mark = secrets.token_hex(8)
        self._nodes = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException as error:
            error.add_note(self.logs())
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def launcher(self, **settings):
        """Return the launcher of this cluster."""
        given = {"address": self.url, "token_env": "TOKEN", "stop_wait_s": 20, **settings}
        return open_launcher("ray", given, {"TOKEN": self.token})

    def start(self) -> None:
        """Start both nodes, and wait until they are there."""
        self.start_head()
        self.start_worker()

    def start_head(self) -> None:
        """Start the head, and wait until it answers."""
        self._begin(
            HEAD,
            "--head",
            *(f"--port={self._gcs}", "--dashboard-host=127.0.0.1"),
            *(f"--dashboard-port={self._dashboard}", f"--temp-dir={self._folder}"),
            f"--ray-client-server-port={self._client}",
            nodes=1,
        )

    def start_worker(self) -> None:
        """Start the other node. It has a resource `other`, by which a job is placed there."""
        self._begin(WORKER, f"--address={HEAD}:{self._gcs}", '--resources={"other": 1}', nodes=2)

    def stop(self) -> None:
        """End all processes of the cluster."""
        left = self.processes()
        for pid in left:
            _kill(pid)
        self._stack.close()
        self._nodes.clear()
        # Those that were no descendants any more.
        for pid in self._marked():
            _kill(pid)

    def restart(self) -> None:
        """End everything, and start with an empty history."""
        self.stop()
        self.start()

    def processes(self, node: str | None = None, words: str = "") -> dict[int, str]:
        """Return the processes of a node, or of all, whose command line has some words."""
        tops = [self._nodes[node]] if node else [*self._nodes.values()]
        parents = _parents()
        found = {top.pid for top in tops if top.poll() is None}
        grown = True
        while grown:
            more = {pid for pid, parent in parents.items() if parent in found} - found
            found |= more
            grown = bool(more)
        lines = {pid: _command_line(pid) for pid in found}
        return {pid: line for pid, line in lines.items() if re.search(words, line)}

    def kill(self, words: str, node: str | None = None) -> int:
        """Kill the one process whose command line has some words; return its ID."""
        [pid] = self.processes(node, words)
        _kill(pid)
        return pid

    def kill_id(self, pid: int) -> None:
        """Kill a process of a job."""
        assert pid in self.processes(), "it is not a process of this cluster"
        _kill(pid)

    def logs(self) -> str:
        """Return the ends of the nodes' own logs, for a failure."""
        return "\n".join(path.read_text()[-2000:] for path in self._folder.glob("*.log"))

    def _begin(self, address: str, *options: str, nodes: int) -> None:
        """Start a node, and wait until the cluster has that many."""
        launcher = self.launcher()
        self._nodes[address] = self._node(address, *options)

        def are_there() -> bool:
            if self._nodes[address].poll() is not None:
                # A raylet waits 15 seconds for its agent, which a busy machine may need longer for.
                for pid in {*self._marked()} - self.processes().keys():
                    _kill(pid)
                self._nodes[address] = self._node(address, *options)
            try:
                return launcher.capacity().nodes == nodes
            except LauncherError:
                return False

        wait_until(are_there, seconds=_START_S)

    def _node(self, address: str, *options: str) -> subprocess.Popen:
        environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            **_PATIENCE,
            "OMP_NUM_THREADS": "1",
            _MARK: self._mark,
        }
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
            *(f"--node-ip-address={address}", f"--num-cpus={self.cpus}", "--num-gpus=0"),
            *("--object-store-memory=80000000", "--disable-usage-stats"),
            *("--min-worker-port=0", "--max-worker-port=0"),
            *(f"--{agent}-port={_free_port()}" for agent in _AGENTS),
            *options,
        ]
        log = self._stack.enter_context((self._folder / f"{address}.log").open("ab"))
        process = child(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self._stack.enter_context(process)

    def _marked(self) -> list[int]:
        mark = f"{_MARK}={self._mark}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark in path.read_bytes() or str(self._folder) in _command_line(
                    int(path.parent.name)
                ):
                    found.append(int(path.parent.name))
        return found


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _parents() -> dict[int, int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    return parents


def _command_line(pid: int) -> str:
    with suppress(OSError):
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    return ""


def alive(pid: int) -> bool:
    """Return whether a process lives, and is not only waited for by its parent."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(condition, seconds: float = 60.0) -> float:
    """Wait until a condition holds, which asks the cluster; return the seconds that it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + seconds, f"not within {seconds} s"
        time.sleep(0.3)
    return time.monotonic() - started
