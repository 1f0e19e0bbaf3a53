"""A job on several nodes of a Ray cluster: one command on each, reserved together, ended together.

`python -m backends.launchers.ray.nodes --nodes 2 --bundle '{"CPU": 1}' --wait 120 -- COMMAND…` is the
entrypoint of a Ray job. It runs inside the cluster, and imports Ray's package there. `--node N` is added
to the command of node N.

The nodes are reserved by a placement group (STRICT_SPREAD): all of them or none, so that two jobs never
wait for each other with half of the nodes each. Ray Train reserves likewise, but runs a function instead
of a program, in processes, retries and checkpoints of its own, where a worker has all of these already.

When one command ends badly, all end: they get SIGTERM, and a while later SIGKILL. The exit status is that
of node 0, or of the command that ended badly.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from types import FrameType, ModuleType
from typing import Any, Final, Protocol

from backends.launchers.ray.ends import DOLLAR, STOPPED, Ends

_LOOK_S: Final = 0.5
_TELL_S: Final = 60.0
"""Seconds between two lines about nodes that are waited for."""
_ANSWER_S: Final = 10.0
"""Seconds that a node may take to pass on a signal."""
_ADDRESS: Final = "FTCTL_NODE_ADDRESS"
"""Variable of the command: address at which Ray, and other nodes, reach its node."""
_LOST: Final = 1
"""Exit status of a node that is not there any more."""
_CHILD: Final = """
import ctypes, os, signal, sys
# PR_SET_PDEATHSIG: Ray kills the parent when the job ends, and would leave this one behind.
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Program that becomes the command; the Python of a node need not have ftctl."""


class Node:
    """The command of one node. Ray makes each a process on its node, which answers one call at a time."""

    def __init__(self, command: Sequence[str], dollar: str) -> None:
        program = [sys.executable, "-c", _CHILD, str(os.getpid()), *command]
        # In a session of its own, a signal reaches all processes of the command, and no others.
        variables = {name: value.replace(dollar, "$") for name, value in os.environ.items()}
        variables.setdefault(_ADDRESS, import_module("ray.util").get_node_ip_address())
        self._child = subprocess.Popen(
            program, start_new_session=True, env={**variables, "PYTHONUNBUFFERED": "1"}
        )

    def status(self) -> int | None:
        """Return the exit status of the command; None while it runs."""
        code = self._child.poll()
        return code if code is None or code >= 0 else 128 - code

    def send(self, number: int) -> None:
        """Send a signal to all processes of the command."""
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)


class _Group(Protocol):
    """A placement group of Ray."""

    def wait(self, timeout_seconds: float) -> bool:
        """Return whether everything is reserved."""


class Nodes:
    """The nodes of one job.

    Args:
        ray: Ray's package.
        bundle: Resources on each node.
        count: Number of nodes.
        command: The command, without `--node`.
    """

    def __init__(
        self, ray: ModuleType, bundle: Mapping[str, float], count: int, command: Sequence[str]
    ) -> None:
        self._ray = ray
        self._bundle = dict(bundle)
        self._count = count
        self._command = command
        self._handles: dict[int, Any] = {}
        self._asked: dict[int, Any] = {}
        self._is_told_to_stop = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Have all commands end; a signal handler."""
        del number, frame
        self._is_told_to_stop = True

    def run(self, wait_s: float) -> int:
        """Reserve the nodes, run the command on each, and return the exit status of the job.

        Args:
            wait_s: Seconds that commands may take to end after SIGTERM.
        """
        util = import_module("ray.util")
        group = util.placement_group([self._bundle] * self._count, strategy="STRICT_SPREAD")
        if not self._reserved(group):
            return STOPPED
        strategies = import_module("ray.util.scheduling_strategies")
        further = {key: some for key, some in self._bundle.items() if key not in _OPTIONS}
        options = {_OPTIONS[key]: some for key, some in self._bundle.items() if key in _OPTIONS}
        for node in range(self._count):
            place = strategies.PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=node
            )
            actor = self._ray.remote(Node).options(
                **options, resources=further, scheduling_strategy=place
            )
            self._handles[node] = actor.remote([*self._command, "--node", str(node)], DOLLAR)
        return self._followed(wait_s)

    def _reserved(self, group: _Group) -> bool:
        """Wait until all nodes are reserved; return False if the job is to stop before that."""
        told = 0.0
        while not self._is_told_to_stop:
            if group.wait(timeout_seconds=1):
                return True
            if time.monotonic() - told > _TELL_S:
                told = time.monotonic()
                _tell(f"waiting for {self._count} nodes with {json.dumps(self._bundle)} each")
        return False

    def _followed(self, wait_s: float) -> int:
        ends, is_killed = Ends(nodes=self._count), False
        while not ends.is_over:
            for node, status in self._ended().items():
                if ends.add(node, status, time.monotonic()):
                    _tell(f"node {node} ended with status {status}; the others end with it")
                    self._send(signal.SIGTERM)
            if self._is_told_to_stop and not ends.is_stopping:
                ends.stop(time.monotonic(), wait_s)
                self._send(signal.SIGTERM)
            if time.monotonic() > ends.deadline and not is_killed:
                is_killed = True
                self._send(signal.SIGKILL)
            if time.monotonic() > ends.deadline + _ANSWER_S:
                # A node that does not answer is cut off; Ray ends its process when this one ends.
                for node in [*self._handles]:
                    ends.add(node, _LOST, time.monotonic())
        return ends.status

    def _ended(self) -> dict[int, int]:
        """Return the exit statuses of commands that have ended since the last call."""
        for node, handle in self._handles.items():
            self._asked.setdefault(node, handle.status.remote())
        ready, _ = self._ray.wait([*self._asked.values()], num_returns=1, timeout=_LOOK_S)
        time.sleep(_LOOK_S)
        ready, _ = self._ray.wait([*self._asked.values()], num_returns=len(self._asked), timeout=0)
        ended: dict[int, int] = {}
        for node, asked in [*self._asked.items()]:
            if asked not in ready:
                continue
            del self._asked[node]
            try:
                status = self._ray.get(asked)
            except self._ray.exceptions.RayError as error:
                _tell(f"node {node} is lost: {' '.join(str(error).split())[:500]}")
                status = _LOST
            if status is not None:
                ended[node] = status
                del self._handles[node]
        return ended

    def _send(self, number: int) -> None:
        sent = [handle.send.remote(number) for handle in self._handles.values()]
        if sent:
            self._ray.wait(sent, num_returns=len(sent), timeout=_ANSWER_S)


_OPTIONS: Final = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
"""Ray's own resources, by the options of a process that reserve them."""


def main(arguments: Sequence[str]) -> int:
    """Run a command on several nodes; return the exit status of the job."""
    parser = argparse.ArgumentParser(prog="python -m backends.launchers.ray.nodes")
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--bundle", type=json.loads, required=True)
    parser.add_argument("--wait", type=float, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    if find_spec("ray") is None:
        _tell(
            f"{sys.executable} has no package ray, which a job on several nodes needs: install the "
            "cluster's version of ray there"
        )
        return 1
    # Each line of each node, as it was written.
    os.environ |= {"RAY_DEDUP_LOGS": "0", "RAY_COLOR_PREFIX": "0"}
    ray = import_module("ray")
    _tell(f"{options.nodes} nodes: {shlex.join(options.command)}")
    ray.init(log_to_driver=True, logging_level="WARNING")
    nodes = Nodes(ray, options.bundle, options.nodes, options.command)
    # After `init`, which sets a handler that ends this process and with it all nodes at once.
    signal.signal(signal.SIGTERM, nodes.stop)
    return nodes.run(options.wait)


def _tell(line: str) -> None:
    sys.stderr.write(f"ftctl: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
