"""The batch script run by bash, with srun, scancel and squeue as scripts that do what Slurm does."""

import os
import signal
import subprocess
import sys

import pytest

from backends.launchers.launcher import Placement
from backends.launchers.slurm.batch_script import batch_script
from tests.children import child, until

WORKER = """
import signal, sys, time
from pathlib import Path
at, arguments = Path(sys.argv[1]), sys.argv[2:]
name = "-".join(arguments) or "worker"
def stop(number, frame):
    time.sleep(float((at / f"{name}.saves").read_text()) if (at / f"{name}.saves").exists() else 0)
    (at / f"{name}.saved").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
(at / f"{name}.began").touch()
ends = at / f"{name}.ends"
while not ends.exists():
    time.sleep(0.01)
sys.exit(int(ends.read_text()))
"""
# As Slurm: TERM kills the tasks; a task that fails ends the others.
SRUN = f"""#!{sys.executable}
import os, signal, subprocess, sys, time
command = sys.argv[sys.argv.index("bash"):]
tasks = [subprocess.Popen(command, env={{**os.environ, "SLURM_NODEID": str(node)}},
                          start_new_session=True) for node in range(2)]
def kill(*_):
    for task in tasks:
        os.killpg(task.pid, signal.SIGKILL)
    sys.exit(137)
signal.signal(signal.SIGTERM, kill)
open("tasks.new", "w").write(" ".join(str(task.pid) for task in tasks))
os.rename("tasks.new", "tasks")
while None in [task.poll() for task in tasks]:
    if any(task.poll() for task in tasks):
        for task in tasks:
            task.poll() is None and os.killpg(task.pid, signal.SIGKILL)
    time.sleep(0.01)
sys.exit(max(abs(task.wait(5)) for task in tasks))
"""
LATE = "open('srun.began', 'w').close(); time.sleep(1.5)"
SQUEUE = """#!/bin/bash
case "$*" in *--steps*) [ -e tasks ] && echo 17.0; echo 17.batch;; *) cat left;; esac
"""
SCONTROL = '#!/bin/bash\nif [ "$1" = show ]; then cat job; else echo "$@" >requeued; fi\n'
SCANCEL = (
    '#!/bin/bash\necho "$@" >>cancelled\nfor task in $(cat tasks); do kill -TERM -- -$task; done\n'
)

PROGRAMS = {"srun": SRUN, "squeue": SQUEUE, "scancel": SCANCEL, "scontrol": SCONTROL}
RUNNING = "JobState=RUNNING Reason=None\nPreemptTime=None\n"
PREEMPTED = "JobState=RUNNING Reason=None\nPreemptTime=2026-11-30T10:54:21\n"
CANCELLED = "JobState=COMPLETING Reason=None\nPreemptTime=None\n"


@pytest.fixture
def job(tmp_path):
    """Return what starts a batch script of a worker on some nodes."""
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "job").write_text(RUNNING)
    (tmp_path / "left").write_text("1-00:00:00\n")

    def start(nodes, prologue="", **more):
        command = (sys.executable, str(tmp_path / "worker.py"), str(tmp_path))
        placement = Placement(name="n", comment="c", command=command, nodes=nodes, gpus=0, **more)
        script = batch_script(placement, f"PATH={tmp_path}:$PATH\n{prologue}")
        (tmp_path / "script").write_text(script)
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SLURM_JOB_ID": "17"}
        return child(["bash", tmp_path / "script"], cwd=tmp_path, env=environment)

    return start


def test_one_node_saves_on_sigterm(job, tmp_path):
    (tmp_path / "worker.saves").write_text("0.5")
    with job(1) as process:
        until((tmp_path / "worker.began").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
    assert (tmp_path / "worker.saved").exists()
    assert not (tmp_path / "requeued").exists()


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize(
    ("told", "left", "goes_back"),
    [
        (PREEMPTED, "1-00:00:00", True),
        (RUNNING, "2:10", True),
        (RUNNING, "0:09", True),
        (RUNNING, "3:01", False),
        (RUNNING, "13:00", False),
        (RUNNING, "UNLIMITED", False),
        (CANCELLED, "0:09", False),
    ],
)
def test_what_slurm_takes_away_goes_back_into_the_queue(
    job, tmp_path, nodes, told, left, goes_back
):
    (tmp_path / "job").write_text(told)
    (tmp_path / "left").write_text(f"{left}\n")
    names = ["worker"] if nodes == 1 else ["--node-0", "--node-1"]
    with job(nodes) as process:
        until(lambda: all((tmp_path / f"{name}.began").exists() for name in names))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
    assert (tmp_path / "requeued").exists() == goes_back
    assert not goes_back or (tmp_path / "requeued").read_text() == "requeue 17\n"


@pytest.mark.parametrize(("status", "nodes"), [(0, 1), (3, 1), (0, 2)])
def test_the_status_of_the_command_is_the_jobs(job, tmp_path, status, nodes):
    for name in ("worker", "--node-0", "--node-1"):
        (tmp_path / f"{name}.ends").write_text(str(status))
    with job(nodes) as process:
        assert process.wait(20) == status


@pytest.mark.parametrize("slow", ["--node-0", "--node-1"])
def test_on_two_nodes_both_save_however_long_one_takes(job, tmp_path, slow):
    (tmp_path / f"{slow}.saves").write_text("1")
    with job(2) as process:
        until(lambda: all((tmp_path / f"--node-{node}.began").exists() for node in range(2)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
    assert all((tmp_path / f"--node-{node}.saved").exists() for node in range(2))


def test_a_signal_before_the_tasks_began_is_not_lost(job, tmp_path):
    (tmp_path / "srun").write_text(SRUN.replace("command =", f"{LATE}\ncommand =", 1))
    with job(2) as process:
        until((tmp_path / "srun.began").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in {137, 143}
    assert (tmp_path / "cancelled").read_text() == "--signal=TERM 17\n"


def test_a_node_that_fails_ends_the_other(job, tmp_path):
    (tmp_path / "--node-1.ends").write_text("5")
    with job(2) as process:
        assert process.wait(20) != 0


def test_variables_and_prologue_reach_the_command(job, tmp_path):
    (tmp_path / "worker.ends").write_text("0")
    text = "it's $HOME\n한국어 `id`"
    with job(1, "export A=1", environment={"B": text}) as process:
        assert process.wait(20) == 0
    script = (tmp_path / "script").read_text().replace("trap stop", "env -0 >out; trap stop")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=True, timeout=20)
    seen = dict(one.split("=", 1) for one in (tmp_path / "out").read_text().split("\0") if one)
    assert (seen["A"], seen["B"]) == ("1", text)
