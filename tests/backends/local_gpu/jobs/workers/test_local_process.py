"""Workers of this machine, over real processes and run folders."""

import dataclasses
import json
import os
import signal
import sys
import time

import pytest

from backends.local_gpu.jobs.run_dir import RunDir
from backends.local_gpu.jobs.worker_record import read_worker, write_worker
from backends.local_gpu.jobs.workers.local_process import HEARTBEAT_LOST_S, LocalProcess
from backends.local_gpu.jobs.workers.process_identity import describe
from backends.local_gpu.jobs.workers.workers import Workers, WorkerState
from backends.lock_files import try_lock
from tests import children

WORKERS: Workers = LocalProcess()


@pytest.fixture
def run(tmp_path):
    made = RunDir(path=tmp_path / "0123456789abcdef-1")
    made.path.mkdir()
    return made


@pytest.fixture
def sleeper():
    code = "import time; time.sleep(60)"
    with children.child([sys.executable, "-S", "-c", code], start_new_session=True) as child:
        yield child


def test_a_run_without_a_worker(run):
    assert WORKERS.find(run) is None
    assert WORKERS.state(run) is WorkerState.GONE
    WORKERS.stop(run, at_once=True)
    assert WORKERS.logs(run) == []
    assert list(run.path.iterdir()) == []


def test_a_living_worker_waits_or_works(run):
    write_worker(run, describe(os.getpid(), 1))
    assert WORKERS.state(run) is WorkerState.WAITING
    write_worker(run, describe(os.getpid(), 1, "cpu"))
    assert WORKERS.state(run) is WorkerState.WORKING
    assert WORKERS.find(run) == read_worker(run)


def test_a_worker_that_ended_is_still_found(run, sleeper):
    worker = describe(sleeper.pid, 2, "cpu")
    write_worker(run, worker)
    assert WORKERS.state(run) is WorkerState.WORKING
    sleeper.kill()
    sleeper.wait(30)
    assert WORKERS.state(run) is WorkerState.GONE
    assert WORKERS.find(run) == worker


def test_the_signal_that_ended_a_worker_is_in_the_log(run):
    run.log.write_text("training\n")
    lock = try_lock(run.lock)
    WORKERS.submit(run, lock, 1)
    os.close(lock)
    pid = read_worker(run).pid
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while WORKERS.state(run) is not WorkerState.GONE:
        assert time.monotonic() < deadline
    assert WORKERS.logs(run, 2) == ["training", f"ftctl: process {pid} was ended by SIGKILL"]


def test_a_submitted_worker_has_the_lock_and_stops_where_its_job_is_cancelled(run):
    run.cancel.touch()
    lock = try_lock(run.lock)
    WORKERS.submit(run, lock, 3)
    os.close(lock)
    worker = read_worker(run)
    assert (worker.starts, worker.device) == (3, None)
    assert run.heartbeat.exists()
    # Waits for its end, and so for the end of its lock.
    os.waitpid(worker.pid, 0)
    assert json.loads(run.result.read_text())["state"] == "cancelled"
    assert WORKERS.state(run) is WorkerState.GONE
    freed = try_lock(run.lock)
    assert freed is not None
    os.close(freed)


@pytest.mark.parametrize(
    ("beat_s", "started_s", "state"),
    [
        (None, 0, WorkerState.WORKING),  # just started: its first heartbeat may still come
        (None, HEARTBEAT_LOST_S + 5, WorkerState.GONE),
        (1, HEARTBEAT_LOST_S + 5, WorkerState.WORKING),
        (HEARTBEAT_LOST_S + 5, 0, WorkerState.GONE),
    ],
)
def test_a_worker_on_another_host_is_followed_by_its_heartbeat(run, beat_s, started_s, state):
    now = time.time()
    worker = describe(os.getpid(), 1, "0")
    there = dataclasses.replace(worker, host="there", start="1", started_s=now - started_s)
    write_worker(run, there)
    if beat_s is not None:
        run.heartbeat.touch()
        os.utime(run.heartbeat, (now - beat_s, now - beat_s))
    assert WORKERS.state(run) is state


@pytest.mark.parametrize("change", [{"start": "1"}, {"host": "there"}, {"boot": "another"}])
def test_only_the_worker_itself_is_stopped(run, sleeper, change):
    worker = describe(sleeper.pid, 1)
    write_worker(run, dataclasses.replace(worker, **change))
    WORKERS.stop(run, at_once=True)
    assert sleeper.poll() is None
    write_worker(run, worker)
    WORKERS.stop(run, at_once=True)
    assert sleeper.wait(30) == -signal.SIGKILL


@pytest.mark.parametrize(("at_once", "number"), [(False, signal.SIGTERM), (True, signal.SIGKILL)])
def test_a_worker_is_asked_first_and_killed_at_last(run, sleeper, at_once, number):
    write_worker(run, describe(sleeper.pid, 1, "cpu"))
    WORKERS.stop(run, at_once=at_once)
    assert sleeper.wait(30) == -number
    WORKERS.stop(run, at_once=at_once)


def test_the_record_of_an_earlier_version_is_followed(run, sleeper):
    """These are the very bytes that were written before other machines."""
    known = describe(sleeper.pid, 1)
    run.worker.write_text(
        f'{{\n "boot": "{known.boot}",\n "device": "cpu",\n "host": "{known.host}",\n'
        f' "pid": {sleeper.pid},\n "start": "{known.start}",\n "started_s": 1764300000.5,\n'
        ' "starts": 2\n}\n'
    )
    assert WORKERS.state(run) is WorkerState.WORKING
    assert WORKERS.find(run).starts == 2
    WORKERS.stop(run, at_once=True)
    assert sleeper.wait(30) == -signal.SIGKILL
    assert WORKERS.state(run) is WorkerState.GONE


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"unknown": 1}'])
def test_a_damaged_record_is_no_worker(run, text):
    run.worker.write_text(text)
    assert WORKERS.find(run) is None
    assert WORKERS.state(run) is WorkerState.GONE
