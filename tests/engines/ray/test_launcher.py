"""The launcher on a real Ray cluster: contract, kills of everything, refusals."""

import re
import secrets
import sys
import threading

import pytest

from backends.launchers.launcher import LauncherError, PlacedState, Placement
from backends.launchers.table import open_launcher
from backends.testing import check_launcher
from tests.engines.ray.cluster import HEAD, WORKER, alive, wait_until

WAITS = """
import os, signal, sys, time
def save(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("told", flush=True)
    time.sleep(6)
    print("saved", flush=True)
    os._exit(143)
signal.signal(signal.SIGTERM, save)
print("pid", os.getpid(), sys.argv[1:], flush=True)
time.sleep(600)
"""


def placement(**changes):
    key = secrets.token_hex(6)
    job = {"name": f"ftctl-real-{key}", "comment": f"ftctl {key}", "gpus": 0}
    return Placement(**{**job, "command": (sys.executable, "-c", WAITS), **changes})


def state(launcher, job):
    placed = launcher.find([job.name]).get(job.name)
    return placed and placed.state


def pids(launcher, job):
    """Return the processes of a job, from its output.

    Nodes on one machine share a folder of logs, so that each may pass on what the other's job says.
    """
    said = re.findall(r"pid (\d+) ", "\n".join(launcher.logs(job.name, 50)))
    return list(dict.fromkeys(map(int, said)))


def started(launcher, job, count=1):
    launcher.submit(job)
    wait_until(lambda: len(pids(launcher, job)) >= count, seconds=90)
    return pids(launcher, job)


def is_over(launcher, job):
    return state(launcher, job) in {None, PlacedState.ENDED}


def test_it_keeps_the_contract(cluster):
    launcher = cluster.launcher(stop_wait_s=6)

    check_launcher(launcher, python=sys.executable, nodes=2, timeout_s=90)


def test_a_job_starts_within_seconds(launcher):
    job = placement(command=("true",))

    launcher.submit(job)
    seconds = wait_until(lambda: is_over(launcher, job))

    print(f"from submission to end: {seconds:.1f} s")
    assert seconds < 30


def test_racing_submissions_of_one_name_start_one_job(launcher):
    job = placement()
    outcomes = []

    def submit():
        try:
            launcher.submit(job)
        except LauncherError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=submit, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    wait_until(lambda: pids(launcher, job))
    assert len(pids(launcher, job)) == 1
    launcher.stop(job.name, at_once=True)
    wait_until(lambda: is_over(launcher, job))
    assert not outcomes


def test_a_job_has_more_time_to_save_than_ray_gives(launcher):
    """Ray's own limit is three seconds; saving takes six here."""
    job = placement()
    started(launcher, job)

    launcher.stop(job.name, at_once=False)
    wait_until(lambda: is_over(launcher, job))

    assert launcher.logs(job.name, 1) == ["saved"]
    assert launcher.find([job.name])[job.name].words == "STOPPED"


def test_a_killed_worker_has_ended(cluster, launcher):
    job = placement()
    [pid] = started(launcher, job)

    cluster.kill_id(pid)

    wait_until(lambda: is_over(launcher, job), 30)
    assert launcher.find([job.name])[job.name].words.startswith(
        "FAILED (Job entrypoint command failed"
    )


def test_a_killed_supervisor_takes_its_job_along(cluster, launcher):
    job = placement()
    [pid] = started(launcher, job)

    cluster.kill("^ray::JobSupervisor")

    wait_until(lambda: is_over(launcher, job), 60)
    wait_until(lambda: not alive(pid), 30)
    assert "supervisor actor died" in launcher.find([job.name])[job.name].words


def test_more_gpus_than_the_cluster_has(launcher):
    job = placement(gpus=8)
    launcher.submit(job)

    placed = launcher.find([job.name])[job.name]

    assert placed.state is PlacedState.QUEUED
    assert "waiting for free resources" in placed.words
    assert launcher.capacity().gpus == 0
    # Ray takes it out of no queue; it ends as soon as it starts.
    launcher.stop(job.name, at_once=False)
    assert state(launcher, job) is PlacedState.QUEUED


@pytest.mark.parametrize(
    ("token", "words"), [(None, "wants a token"), ("0" * 32, "refuses the token")]
)
def test_a_token_is_asked_for(cluster, token, words):
    settings = {"address": cluster.url} | ({"token_env": "T"} if token else {})
    stranger = open_launcher("ray", settings, {"T": token or ""})

    with pytest.raises(LauncherError, match=words):
        stranger.submit(placement())


def test_a_bad_runtime_environment_is_told(cluster):
    launcher = cluster.launcher(runtime_env={"py_modules": ["gcs://_ray_pkg_00.zip"]})
    job = placement()

    launcher.submit(job)
    wait_until(lambda: is_over(launcher, job), 90)
    words = launcher.find([job.name])[job.name].words
    assert words.startswith("FAILED (runtime_env setup failed")
    assert "_ray_pkg_00.zip" in words


# ---- several nodes


def test_one_killed_command_ends_the_job_on_all_nodes(cluster, launcher):
    job = placement(nodes=2)
    first, second = started(launcher, job, 2)

    cluster.kill_id(second)

    wait_until(lambda: is_over(launcher, job), 90)
    assert not alive(first)
    assert "ended with status 137; the others end with it" in "\n".join(launcher.logs(job.name, 50))


def test_a_lost_node_ends_the_job_on_the_others(cluster, launcher):
    job = placement(nodes=2)
    both = started(launcher, job, 2)

    cluster.kill("raylet/raylet", WORKER)

    wait_until(lambda: is_over(launcher, job), 120)
    wait_until(lambda: not any(alive(pid) for pid in both), 30)
    assert "is lost" in "\n".join(launcher.logs(job.name, 50))
    cluster.restart()


def test_a_killed_program_of_several_nodes_leaves_no_command_behind(cluster, launcher):
    job = placement(nodes=2)
    both = started(launcher, job, 2)

    cluster.kill("launchers.ray.nodes --nodes")

    wait_until(lambda: is_over(launcher, job), 60)
    wait_until(lambda: not any(alive(pid) for pid in both), 60)


def test_several_nodes_that_are_not_there_are_waited_for(launcher):
    job = placement(nodes=3)
    launcher.submit(job)

    wait_until(lambda: any("waiting for 3 nodes" in line for line in launcher.logs(job.name, 5)))
    assert state(launcher, job) is PlacedState.RUNNING
    launcher.stop(job.name, at_once=False)
    wait_until(lambda: is_over(launcher, job), 30)


# ---- what is lost with a node


def test_a_killed_node_ends_its_jobs(cluster):
    launcher = cluster.launcher(resources={"other": 1})
    job = placement()
    [pid] = started(launcher, job)

    cluster.kill("raylet/raylet", WORKER)

    seconds = wait_until(lambda: is_over(launcher, job), 120)
    print(f"a killed node is known after {seconds:.1f} s")
    assert launcher.find([job.name])[job.name].words.startswith("FAILED (")
    wait_until(lambda: not alive(pid), 30)
    cluster.restart()


def test_a_killed_head_is_not_reached_and_forgets(cluster, launcher):
    other = cluster.launcher(resources={"other": 1})
    job = placement()
    [pid] = started(other, job)

    cluster.kill("gcs/gcs_server", HEAD)

    def is_away() -> bool:
        try:
            launcher.find([job.name])
        except LauncherError:
            return True
        return False

    wait_until(is_away, 90)
    cluster.restart()
    assert launcher.find([job.name]) == {}
    assert launcher.logs(job.name, 5) == []
    launcher.submit(job)
    wait_until(lambda: pids(launcher, job))
    assert pid not in pids(launcher, job)
    launcher.stop(job.name, at_once=True)
    wait_until(lambda: is_over(launcher, job))
