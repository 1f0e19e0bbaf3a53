"""A real Slurm on this machine: its controller and two nodes on loopback, in a folder of its own.

Debian's packages `slurm-wlm` and `munge` are enough. No configuration of the machine is read or
changed, and every daemon is ended by its process ID.
"""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from backends.launchers.slurm.slurm import Slurm, create
from tests.children import child, until

DAEMONS = ("munged", "slurmctld", "slurmd")
NODES = ("n1", "n2")
GPUS = 2
"""Devices of each node that Slurm takes for GPUs."""
_SBIN = "/usr/sbin:/usr/local/sbin"
_START_S = 60.0

_CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
ReturnToService=1
MinJobAge={forget_s}
KillWait=5
SchedulerParameters=bf_interval=1,sched_interval=1
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=4000 Gres=gpu:h100:2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=4000 Gres=gpu:h100:2
PartitionName=batch Nodes=n1,n2 Default=YES PriorityTier=1 GraceTime=30 MaxTime=2-00 State=UP
PartitionName=urgent Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF State=UP
PartitionName=one Nodes=n1 State=UP
"""
_GENERIC_RESOURCES = "Name=gpu Type=h100 File=/dev/zero\nName=gpu Type=h100 File=/dev/null\n"


def missing() -> list[str]:
    """Return the daemons that this machine does not have."""
    return [name for name in DAEMONS if shutil.which(name, path=_path(os.environ)) is None]


class Cluster:
    """A Slurm that runs, with an empty folder that its nodes share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.environment = {
            "PATH": _path(os.environ),
            "HOME": os.environ["HOME"],
            "SLURM_CONF": str(folder / "slurm.conf"),
        }
        self.ports = _free_ports(3)
        self.processes: dict[str, subprocess.Popen] = {}

    def configure(self, forget_s: int = 300) -> None:
        """Write the configuration; `forget_s` after its end, the controller forgets a job."""
        (self.folder / "gres.conf").write_text(_GENERIC_RESOURCES)
        text = _CONFIGURATION.format(
            folder=self.folder,
            user=getpass.getuser(),
            host=socket.gethostname().partition(".")[0],
            ports=self.ports,
            forget_s=forget_s,
        )
        (self.folder / "slurm.conf").write_text(text)

    def type(self, *arguments: str) -> str:
        """Type a command of Slurm; return what it prints."""
        return subprocess.run(
            arguments,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    def launcher(self, environment: Mapping[str, str] | None = None, **settings) -> Slurm:
        """Return a launcher of this cluster."""
        known = {**self.environment, **(environment or {})}
        return create({"runs": str(self.runs), **settings}, known)

    def jobs(self) -> str:
        """Return the jobs that wait or run."""
        return self.type("squeue", "--noheader", "--format=%A %T %r %N %j")

    def empty(self) -> None:
        """End all jobs, and bring every node back."""
        for _ in range(5):
            # A job that is put back into the queue while it is ended stays there.
            ids = self.type("squeue", "--noheader", "--format=%A").split()
            if ids:
                with suppress(subprocess.CalledProcessError):
                    self.type("scancel", *ids)
            with suppress(AssertionError):
                until(lambda: not self.jobs().strip(), 15)
                break
        assert not self.jobs().strip()
        for node in NODES:
            with suppress(subprocess.CalledProcessError):
                self.type("scontrol", "update", f"NodeName={node}", "State=RESUME")
        until(lambda: self.idle() == len(NODES), 60)

    def idle(self) -> int:
        """Return the number of nodes that wait for jobs."""
        states = self.type("sinfo", "--noheader", "--Node", "--partition=batch", "--format=%T")
        return states.split().count("idle")

    @contextmanager
    def silent_controller(self) -> Iterator[None]:
        """Let the controller take connections and answer none."""
        process = self.processes["slurmctld"]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)
            until(lambda: self.idle() >= 0)


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Start a Slurm in an empty folder; end it with the block."""
    for name in ("log", "munge", "runs", "spool", "state"):
        (folder / name).mkdir()
    (folder / "munge").chmod(0o700)
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    # Jobs talk to the socket through this folder.
    (folder / "munge").chmod(0o711)
    cluster = Cluster(folder)
    cluster.configure()
    conf = str(folder / "slurm.conf")
    own = [f"--{what}-file={folder}/munge/{what}" for what in ("key", "pid", "log", "seed")]
    with ExitStack() as stack:

        def start(name: str, *arguments: str) -> None:
            with (folder / "log" / f"{name}.out").open("wb") as output:
                process = child(
                    # A test run that is killed leaves no daemon behind.
                    ["setpriv", "--pdeathsig", "TERM", *arguments],
                    env={**os.environ, **cluster.environment},
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
                cluster.processes[name] = stack.enter_context(process)

        start(
            "munged", "munged", "--foreground", "--force", f"--socket={folder}/munge/socket", *own
        )
        until((folder / "munge" / "socket").exists, _START_S)
        start("slurmctld", "slurmctld", "-D", "-f", conf)
        for node in NODES:
            start(node, "slurmd", "-D", "-N", node, "-f", conf)
        until(lambda: _answers(cluster), _START_S)
        try:
            yield cluster
        finally:
            with suppress(AssertionError, subprocess.SubprocessError):
                cluster.empty()
            for process in reversed(list(cluster.processes.values())):
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)


def _answers(cluster: Cluster) -> bool:
    dead = [name for name, process in cluster.processes.items() if process.poll() is not None]
    if dead:
        sys.stderr.write((cluster.folder / "log" / f"{dead[0]}.out").read_text())
        raise RuntimeError(f"{', '.join(dead)} ended at once")
    try:
        return cluster.idle() == len(NODES)
    except subprocess.CalledProcessError:
        return False


def _path(environment: Mapping[str, str]) -> str:
    return f"{environment.get('PATH', os.defpath)}:{_SBIN}"


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
