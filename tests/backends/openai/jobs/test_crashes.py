"""`kill -9` at every step of the submit protocol; the next run, on an empty disk, leaves one job."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.openai.api.retry_policy import RetryPolicy
from tests.backends.openai.openai_helpers import write_request
from tests.backends.openai.servers.fault_server import Fault
from tests.children import child

ROOT = Path(__file__).parents[4]
QUICK_POLICY = {"window_s": 3.0, "pause_s": 0.02, "lag_s": 0.0}


@pytest.fixture(scope="module")
def zygote():
    with forking() as started:
        yield started


@contextmanager
def forking():
    program = [sys.executable, "-m", "tests.backends.openai.jobs.zygote"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with child(program, text=True, cwd=ROOT, env=environment, **pipes) as process:
        yield Zygote(process)
        process.stdin.close()
        assert process.wait(10) == 0


class Zygote:
    def __init__(self, process):
        self._process = process

    def start(self, **task):
        """Fork a child that waits; return its ID."""
        self._say(json.dumps(task))
        return int(self._process.stdout.readline())

    def go(self):
        """Let the child run; return what it came to, empty when it was killed."""
        self.let_go()
        return self.ending()

    def let_go(self):
        self._say("")

    def ending(self):
        return json.loads(self._process.stdout.readline())

    def run(self, **task):
        self.start(**task)
        return self.go()

    def _say(self, line):
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


@pytest.fixture
def task(server, tmp_path):
    folders = iter(range(1000))

    def make(**more):
        return {
            "url": server.url,
            "state": str(tmp_path / f"state-{next(folders)}"),
            "data": str(tmp_path / "data"),
            "retry_policy": QUICK_POLICY,
        } | more

    return make


def reset(server):
    server.jobs.clear()
    server.files.clear()
    server.count = 0
    server.kill = None


def test_killed_at_any_request_the_next_run_leaves_one_job(
    server, zygote, task, open_backend, make_request
):
    assert "job" in zygote.run(**task())
    requests = server.count
    assert requests >= 7

    for number in range(1, requests + 1):
        for when in ("before", "after"):
            reset(server)
            server.kill = (zygote.start(**task()), number, when)
            died = zygote.go()
            assert died == {}, (number, when, died)
            server.kill = None
            open_backend().submit(make_request())
            assert len(server.jobs) == 1, (number, when)
            assert len(server.files) == 2, (number, when)


def test_killed_at_any_durable_step_the_next_run_leaves_one_job(
    server, zygote, task, open_backend, make_request
):
    steps = zygote.run(**task())["steps"]
    assert steps >= 6

    for step in range(1, steps + 1):
        # Before a step is after the one before it: both kinds of disk meet every state.
        for when, kept in (("before", True), ("after", False)):
            reset(server)
            first = task(step=step, when=when)
            assert zygote.run(**first) == {}, (step, when)
            open_backend(Path(first["state"]) if kept else None).submit(make_request())
            assert len(server.jobs) == 1, (step, when)


def test_a_killed_run_leaves_one_job_though_the_list_lags(server, zygote, task):
    # The job was created and is not listed yet; its file was uploaded a moment ago.
    assert "job" in zygote.run(**task())
    create = next(
        number
        for number, one in enumerate(server.requests, 1)
        if one[:2] == ("POST", "/fine_tuning/jobs")
    )
    reset(server)
    server.lag = 12
    server.kill = (zygote.start(**task()), create, "after")
    assert zygote.go() == {}
    assert len(server.jobs) == 1

    patient = QUICK_POLICY | {"lag_s": 3.0}

    assert "job" in zygote.run(**task(retry_policy=patient))
    assert len(server.jobs) == 1


def test_a_second_job_made_behind_a_lagging_list_is_cancelled_at_once(
    server, open_backend, make_request
):
    # As if the first run had died with its disk, and its upload were long ago.
    server.lag = 12
    first = open_backend(retry_policy=RetryPolicy(window_s=0.0, lag_s=0.0)).submit(make_request())
    server.jobs[first.id]["created_at"] -= 60

    patience = RetryPolicy(window_s=5.0, pause_s=0.01, lag_s=0.0)
    second = open_backend(retry_policy=patience).submit(make_request())

    assert second.id == first.id
    assert len(server.jobs) == 2
    assert [job["id"] for job in server.running] == [first.id]


def test_two_racing_runs_leave_one_job(server, task):
    write_request(Path(task()["data"]))
    with forking() as first, forking() as second:
        for lag in (0, 0, 0, 6, 6, 6):
            reset(server)
            server.lag = lag
            first.start(**task())
            second.start(**task())
            # Both are let go before either is waited for.
            first.let_go()
            second.let_go()
            endings = [first.ending(), second.ending()]

            assert len(server.trainings) == 1, server.jobs
            assert {ending["job"] for ending in endings} == {server.trainings[0]["id"]}


def test_two_racing_runs_that_both_create_keep_the_older_job(server, open_backend, make_request):
    request = make_request()
    # The other run's job appears between our look and our create call.
    backend = open_backend()
    older = open_backend().submit(request)
    server.jobs[older.id]["created_at"] -= 5
    server.jobs[older.id]["shown_from"] = server.count + 8

    kept = backend.submit(request)

    assert kept.id == older.id
    assert len(server.jobs) == 2
    assert [job["id"] for job in server.running] == [older.id]


def test_a_duplicate_that_cannot_be_cancelled_is_named(server, open_backend, make_request):
    request = make_request()
    first = open_backend().submit(request)
    second = server.jobs[first.id] | {"id": "ftjob-duplicate", "created_at": 2**31}
    server.jobs["ftjob-duplicate"] = second
    server.put_fault(
        "POST", "/fine_tuning/jobs/ftjob-duplicate/cancel", *[Fault("403") for _ in range(3)]
    )

    with pytest.raises(Exception, match="ftjob-duplicate") as caught:
        open_backend().submit(request)

    assert "cancel it there" in caught.value.remedy
