"""The launcher of Slurm at a real Slurm, with a worker that only tells what it is given."""

import dataclasses
import secrets
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from backends.launchers.launcher import (
    Capacity,
    LauncherError,
    PlacedState,
    Placement,
    SubmissionLost,
)
from backends.testing import check_launcher
from tests.children import until

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]
WORKER = """
import os, signal, sys, time
def stop(number, frame):
    print("TERM", *sys.argv[1:], flush=True)
    time.sleep(2)
    print("saved", *sys.argv[1:], flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
keys = ("SLURM_RESTART_COUNT", "CUDA_VISIBLE_DEVICES", "OPENAI_API_KEY", "TEXT")
told = {key: os.environ[key] for key in keys if key in os.environ}
print("started", *sys.argv[1:], told, flush=True)
time.sleep(float(os.environ.get("SECONDS_TO_RUN", "600")))
print("ended", *sys.argv[1:], flush=True)
"""


def job(**more) -> Placement:
    """Return a job of the worker under a name of its own."""
    key = secrets.token_hex(6)
    wanted = {"gpus": 0, "memory_bytes": 50 << 20, **more}
    return Placement(
        name=f"ftctl-test-{key}",
        comment=f"ftctl {key} 1",
        command=(sys.executable, "-c", WORKER),
        **wanted,
    )


def state(launcher, placement):
    """Return the state of a job; None if Slurm has forgotten it."""
    placed = launcher.find([placement.name]).get(placement.name)
    return None if placed is None else placed.state


def started(launcher, placement, times=1):
    """Wait until a job has written so often that it has started."""

    def lines():
        written = launcher.logs(placement.name, 500)
        return [line for line in written if line.startswith("started")]

    until(lambda: len(lines()) >= times, 60)
    return lines()


def is_over(launcher, placement):
    """Wait until a job has ended, and return its words."""
    until(lambda: state(launcher, placement) is PlacedState.ENDED, 60)
    return launcher.find([placement.name])[placement.name].words


def identity(cluster, placement):
    """Return Slurm's number of a job."""
    return cluster.type("squeue", "--noheader", f"--name={placement.name}", "--format=%A").strip()


def start_now(cluster, number):
    """Start a job that was put back into the queue, without Slurm's pause of two minutes."""

    def runs():
        # Slurm sets the pause when the job's last process has ended, maybe after this.
        with suppress(subprocess.CalledProcessError):
            cluster.type("scontrol", "update", f"JobId={number}", "StartTime=now")
        return cluster.type("squeue", "--noheader", f"--jobs={number}", "-o%T") == "RUNNING\n"

    until(runs, 60)


def test_a_job_runs_saves_on_sigterm_and_has_ended(cluster, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    launcher, placement = cluster.launcher(), job(environment={"TEXT": "it's $HOME\n한국어"})
    assert launcher.find([placement.name]) == {}
    launcher.submit(placement)
    placed = launcher.find([placement.name, "ftctl-other-0123456789ab"])[placement.name]
    assert placed.comment == placement.comment
    (line,) = started(launcher, placement)
    assert line == f"started {{'TEXT': {placement.environment['TEXT']!r}}}"
    assert state(launcher, placement) is PlacedState.RUNNING
    launcher.stop(placement.name, at_once=False)
    assert is_over(launcher, placement) == "FAILED (NonZeroExitCode)"
    assert launcher.logs(placement.name, 2) == ["TERM", "saved"]
    assert "ExitCode=143:0" in cluster.type("scontrol", "show", "job", _newest(cluster, placement))


def _newest(cluster, placement):
    listed = cluster.type(
        "squeue", "--noheader", "--states=all", f"--name={placement.name}", "-o%A"
    )
    return max(listed.split(), key=int)


def test_a_job_that_ends_well_has_completed(cluster):
    launcher, placement = cluster.launcher(), job(environment={"SECONDS_TO_RUN": "0"})
    launcher.submit(placement)
    assert is_over(launcher, placement) == "COMPLETED"


def test_of_two_jobs_of_one_name_one_runs(cluster):
    launcher, placement = cluster.launcher(), job()
    launcher.submit(placement)
    launcher.submit(placement)
    started(launcher, placement)
    time.sleep(3)
    listed = cluster.jobs().splitlines()
    assert sorted(line.split()[1] for line in listed) == ["PENDING", "RUNNING"]
    assert "Dependency" in cluster.jobs()
    assert state(launcher, placement) is PlacedState.RUNNING
    launcher.stop(placement.name, at_once=True)
    is_over(launcher, placement)
    assert len(started(launcher, placement)) == 1
    assert cluster.jobs() == ""


def test_stop_removes_a_second_job_that_waits(cluster):
    launcher, placement = cluster.launcher(), job()
    launcher.submit(placement)
    launcher.submit(placement)
    started(launcher, placement)
    launcher.stop(placement.name, at_once=False)
    is_over(launcher, placement)
    assert "saved" in launcher.logs(placement.name, 5)
    assert len(started(launcher, placement)) == 1


def test_a_requeued_job_saves_and_starts_again(cluster):
    launcher, placement = cluster.launcher(), job()
    launcher.submit(placement)
    started(launcher, placement)
    number = identity(cluster, placement)
    cluster.type("scontrol", "requeue", number)
    until(lambda: state(launcher, placement) is PlacedState.QUEUED, 30)
    assert "saved" in launcher.logs(placement.name, 5)
    start_now(cluster, number)
    assert started(launcher, placement, 2)[1] == "started {'SLURM_RESTART_COUNT': '1'}"


def test_a_job_of_a_node_that_goes_down_starts_again_elsewhere(cluster):
    launcher, placement = cluster.launcher(), job()
    launcher.submit(placement)
    started(launcher, placement)
    number = identity(cluster, placement)
    node = cluster.type("squeue", "--noheader", f"--jobs={number}", "--format=%N").strip()
    cluster.type("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    until(lambda: state(launcher, placement) is PlacedState.QUEUED, 30)
    start_now(cluster, number)
    started(launcher, placement, 2)
    assert cluster.type("squeue", "--noheader", f"--jobs={number}", "--format=%N").strip() != node


def test_a_preempted_job_saves_and_starts_again(cluster):
    launcher, placement = cluster.launcher(), job(nodes=1)
    launcher.submit(placement)
    started(launcher, placement)
    number = identity(cluster, placement)
    urgent = cluster.launcher(partition="urgent", options=["--exclusive"])
    other = job(nodes=2, environment={"SECONDS_TO_RUN": "3"})
    urgent.submit(other)
    until(lambda: "saved" in launcher.logs(placement.name, 5), 60)
    started(urgent, other)
    is_over(urgent, other)
    start_now(cluster, number)
    started(launcher, placement, 2)


def test_a_job_at_its_time_limit_saves_and_starts_again(cluster):
    launcher, placement = cluster.launcher(), job()
    launcher.submit(placement)
    started(launcher, placement)
    number = identity(cluster, placement)
    # Slurm signals 120 seconds before, and looks once a minute.
    cluster.type("scontrol", "update", f"JobId={number}", "TimeLimit=2")
    until(lambda: state(launcher, placement) is PlacedState.QUEUED, 120)
    assert "saved" in launcher.logs(placement.name, 5)
    cluster.type("scontrol", "update", f"JobId={number}", "TimeLimit=60")
    start_now(cluster, number)
    started(launcher, placement, 2)


def test_a_cancelled_job_has_ended(cluster):
    launcher, placement = cluster.launcher(), job()
    launcher.submit(placement)
    started(launcher, placement)
    cluster.type("scancel", identity(cluster, placement))
    assert is_over(launcher, placement).startswith("CANCELLED")


@pytest.mark.parametrize("at_once", [False, True])
def test_a_job_that_waits_is_removed(cluster, at_once):
    launcher, placement = cluster.launcher(options=["--hold"]), job()
    launcher.submit(placement)
    words = launcher.find([placement.name])[placement.name].words
    assert words.startswith("PENDING (JobHeldUser): held; `scontrol release ")
    launcher.stop(placement.name, at_once=at_once)
    assert is_over(launcher, placement).startswith("CANCELLED")


def test_a_job_of_others_is_told_and_left_alone(cluster):
    launcher, placement = cluster.launcher(), job()
    cluster.type("sbatch", f"--job-name={placement.name}", "-o/dev/null", "--wrap=sleep 60")
    assert launcher.find([placement.name])[placement.name].comment == ""
    launcher.stop(placement.name, at_once=True)
    assert state(launcher, placement) is not PlacedState.ENDED


def test_two_nodes_each_get_their_number_and_save(cluster):
    launcher, placement = cluster.launcher(), job(nodes=2)
    launcher.submit(placement)
    assert sorted(started(launcher, placement, 2)) == ["started --node 0 {}", "started --node 1 {}"]
    launcher.stop(placement.name, at_once=False)
    is_over(launcher, placement)
    lines = launcher.logs(placement.name, 50)
    assert {"saved --node 0", "saved --node 1"} <= {*lines}
    assert lines.count("TERM --node 0") == 1
    assert "ExitCode=143:0" in cluster.type("scontrol", "show", "job", _newest(cluster, placement))


def test_two_nodes_that_end_well_have_completed(cluster):
    launcher, placement = cluster.launcher(), job(nodes=2, environment={"SECONDS_TO_RUN": "1"})
    launcher.submit(placement)
    assert is_over(launcher, placement) == "COMPLETED"
    assert {"ended --node 0", "ended --node 1"} <= {*launcher.logs(placement.name, 50)}


def test_a_node_of_two_that_fails_ends_the_job(cluster):
    launcher, placement = cluster.launcher(), job(nodes=2)
    failing = WORKER + '\nif sys.argv[-1] == "1": sys.exit(3)\ntime.sleep(600)'
    environment = {"SECONDS_TO_RUN": "1"}
    command = (sys.executable, "-c", failing)
    launcher.submit(dataclasses.replace(placement, command=command, environment=environment))
    assert is_over(launcher, placement).startswith("FAILED")


def test_gpus_are_those_that_slurm_gives(cluster):
    launcher, placement = cluster.launcher(gpu_type="h100"), job(gpus=2)
    launcher.submit(placement)
    assert started(launcher, placement) == ["started {'CUDA_VISIBLE_DEVICES': '0,1'}"]


def test_gpus_on_two_nodes(cluster):
    launcher, placement = cluster.launcher(), job(gpus=1, nodes=2)
    launcher.submit(placement)
    assert sorted(started(launcher, placement, 2)) == [
        f"started --node {node} {{'CUDA_VISIBLE_DEVICES': '0'}}" for node in range(2)
    ]


@pytest.mark.parametrize(
    ("settings", "wanted", "said", "remedy"),
    [
        ({"partition": "gpus"}, {}, "Invalid partition", "Use one of: batch, one, urgent."),
        ({}, {"gpus": 3}, "node configuration is not available", "Ask for less on each node"),
        ({"gpu_type": "b200"}, {"gpus": 1}, "node configuration", "`sinfo -o '%N %c %m %G'`"),
        ({}, {"memory_bytes": 10**12}, "Memory specification", "Ask for less on each node"),
        ({"options": ["--constraint=h100"]}, {}, "feature", "Correct `--constraint`"),
        ({"options": ["--bogus"]}, {}, "--bogus", "Correct `options`"),
    ],
)
def test_what_slurm_refuses(cluster, settings, wanted, said, remedy):
    launcher, placement = cluster.launcher(**settings), job(**wanted)
    with pytest.raises(LauncherError) as caught:
        launcher.submit(placement)
    assert not isinstance(caught.value, SubmissionLost)
    assert said in caught.value.message
    assert remedy in caught.value.remedy
    assert cluster.jobs() == ""


@pytest.mark.parametrize(
    ("settings", "wanted", "words"),
    [
        ({}, {"nodes": 3}, "the partition does not have so many nodes"),
        ({"partition": "one"}, {"nodes": 2}, "the partition does not"),
        ({"options": ["--cpus-per-task=9"]}, {}, "PENDING (PartitionConfig)"),
        ({"time": "9-00"}, {}, "`time` is longer than the partition allows"),
    ],
)
def test_what_slurm_queues_for_ever_is_told(cluster, settings, wanted, words):
    launcher, placement = cluster.launcher(**settings), job(**wanted)
    launcher.submit(placement)
    until(lambda: words in launcher.find([placement.name])[placement.name].words, 30)
    assert state(launcher, placement) is PlacedState.QUEUED


def test_capacity(cluster):
    assert cluster.launcher().capacity() == Capacity(nodes=2, gpus=4)
    assert cluster.launcher(partition="one").capacity() == Capacity(nodes=1, gpus=2)
    assert cluster.launcher(gpu_type="b200").capacity() == Capacity(nodes=2, gpus=0)
    with pytest.raises(LauncherError, match="no nodes in partition gpus"):
        cluster.launcher(partition="gpus").capacity()


def test_a_controller_that_does_not_answer_loses_no_job(cluster):
    launcher, placement = cluster.launcher(), job()
    with cluster.silent_controller():
        with pytest.raises(SubmissionLost):
            launcher.submit(placement)
        with pytest.raises(LauncherError):
            launcher.find([placement.name])
    # The request may have been read after all: whatever is found, it is one job.
    time.sleep(3)
    if state(launcher, placement) is None:
        launcher.submit(placement)
    started(launcher, placement)
    assert len(cluster.jobs().splitlines()) == 1


def test_without_a_controller_nothing_is_submitted(cluster):
    broken = cluster.folder / "elsewhere.conf"
    text = (cluster.folder / "slurm.conf").read_text()
    port = f"SlurmctldPort={cluster.ports[0]}"
    broken.write_text(f"{text.replace(port, 'SlurmctldPort=9')}MessageTimeout=2\n")
    launcher = cluster.launcher({"SLURM_CONF": str(broken)})
    for ask in (lambda: launcher.submit(job()), lambda: launcher.find(["x"]), launcher.capacity):
        with pytest.raises(LauncherError, match="controller cannot be reached") as caught:
            ask()
        assert not isinstance(caught.value, SubmissionLost)


def test_a_job_that_slurm_has_forgotten_is_absent(cluster):
    launcher, placement = cluster.launcher(), job(environment={"SECONDS_TO_RUN": "0"})
    launcher.submit(placement)
    is_over(launcher, placement)
    cluster.configure(forget_s=2)
    cluster.type("scontrol", "reconfigure")
    try:
        until(lambda: launcher.find([placement.name]) == {}, 120)
        assert launcher.logs(placement.name, 1) == ["ended"]
    finally:
        cluster.configure()
        cluster.type("scontrol", "reconfigure")


def test_the_contract_of_launchers(cluster):
    check_launcher(cluster.launcher(), python=sys.executable, nodes=2)


def test_at_a_login_node(cluster, tmp_path):
    # What sshd does: the command line goes through the login shell of the user.
    script = '#!/bin/sh\nshift 5\nexec sh -c "$*"\n'
    (tmp_path / "ssh").write_text(script)
    (tmp_path / "ssh").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{cluster.environment['PATH']}"}
    launcher = cluster.launcher(environment, ssh="login", prologue="export TEXT='a b'")
    placement = job()
    launcher.submit(placement)
    assert started(launcher, placement) == ["started {'TEXT': 'a b'}"]
    launcher.stop(placement.name, at_once=False)
    is_over(launcher, placement)
    assert launcher.logs(placement.name, 1) == ["saved"]
