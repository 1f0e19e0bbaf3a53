"""A job is what its run folder says; what a launcher says is a hint."""

import dataclasses
import json
import os
import time

import pytest

from backends.contract.jobs import BaseModel, JobState, TrainRequest
from backends.local_gpu.jobs import jobs
from backends.local_gpu.jobs.run_dir import create, write_end
from backends.local_gpu.jobs.worker_record import Worker
from backends.local_gpu.jobs.workers.workers import WorkerState
from backends.lock_files import try_lock

GONE, WAITING, WORKING = WorkerState.GONE, WorkerState.WAITING, WorkerState.WORKING


@dataclasses.dataclass
class Engine:
    """A launcher that says what it is told to, and notes what it is asked to do."""

    says: WorkerState = GONE
    worker: Worker | None = None
    starts: list[int] = dataclasses.field(default_factory=list)
    stops: list[bool] = dataclasses.field(default_factory=list)
    told: int = 0
    at_state: object = None

    def find(self, _run):
        return self.worker

    def submit(self, run, lock, starts):
        assert try_lock(run.lock) is None, "the caller holds the run's lock"
        os.fstat(lock)
        self.starts.append(starts)

    def state(self, _run):
        if self.at_state is not None:
            self.at_state()
        return self.says

    def words(self, _run):
        return "waiting for a free device" if self.says is WAITING else "gone"

    def ended(self, _run):
        self.told += 1

    def stop(self, _run, *, at_once):
        self.stops.append(at_once)

    def logs(self, _run, lines=12):
        return ["first", "last words"][-lines:]


@pytest.fixture
def run(tmp_path):
    for name in ("train", "held_out", "origins"):
        (tmp_path / name).write_text("")
    request = TrainRequest(
        name="cafe",
        fingerprint="ft1:" + "a" * 64,
        attempt=1,
        base_model=BaseModel(reference="/models/small", revision=None, identity="sha256:1"),
        method="supervised",
        hyperparameters={},
        seed=1,
        train=tmp_path / "train",
        held_out=tmp_path / "held_out",
        train_origins=tmp_path / "origins",
    )
    return create(tmp_path / "state", request)


def succeeded(run):
    run.model.mkdir()
    run.result.write_text(json.dumps({"state": "succeeded", "facts": {"steps": 3}}))


FOLDERS = {
    "nothing": lambda _: None,
    "cancel": lambda run: run.cancel.touch(),
    "failed": lambda run: write_end(run, "failed", "it broke"),
    "cancelled": lambda run: write_end(run, "cancelled", "cancelled"),
    "succeeded": succeeded,
}
ENDED = {"failed", "cancelled", "succeeded"}


@pytest.mark.parametrize("says", list(WorkerState))
@pytest.mark.parametrize("folder", FOLDERS)
def test_the_folder_decides_and_the_launcher_hints(run, folder, says):
    FOLDERS[folder](run)
    job = jobs.read_job(run, Engine(says=says))
    if folder in ENDED:
        assert job.state.value == folder
    elif says is WAITING:
        assert (job.state, job.error) == (JobState.QUEUED, "waiting for a free device")
    elif says is WORKING:
        assert job.state is JobState.RUNNING
    else:
        # An engine may call a job ended that left no result: the run continues when submitted.
        expected = JobState.CANCELLED if folder == "cancel" else JobState.INTERRUPTED
        assert job.state is expected
    assert (job.result is not None) == (folder == "succeeded")


@pytest.mark.parametrize("says", list(WorkerState))
def test_a_result_written_while_the_launcher_is_asked_counts(run, says):
    engine = Engine(says=says, at_state=lambda: succeeded(run))
    job = jobs.read_job(run, engine)
    assert job.state is JobState.SUCCEEDED
    assert job.result.model_id == f"ft:small:cafe:{run.name}"
    assert job.result.facts == {"steps": 3}


@pytest.mark.parametrize("says", list(WorkerState))
@pytest.mark.parametrize("folder", FOLDERS)
def test_only_a_run_without_worker_and_end_is_started(run, folder, says):
    FOLDERS[folder](run)
    engine = Engine(says=says)
    jobs.start(run, engine)
    assert engine.starts == ([1] if (folder, says) == ("nothing", GONE) else [])


def test_a_run_that_another_process_is_starting_is_left_to_it(run):
    lock = try_lock(run.lock)
    engine = Engine()
    jobs.start(run, engine)
    jobs.cancel(run, engine)
    os.close(lock)
    assert engine.starts == []
    assert not run.result.exists()
    jobs.start(run, engine)
    assert engine.starts == []  # it was cancelled
    jobs.cancel(run, engine)
    assert json.loads(run.result.read_text())["state"] == "cancelled"


def test_a_launcher_that_fails_leaves_the_run_to_be_started_again(run):
    class Broken(Engine):
        def submit(self, *_):
            raise OSError(11, "no more processes")

    with pytest.raises(OSError, match="no more processes"):
        jobs.start(run, Broken())
    engine = Engine()
    jobs.start(run, engine)
    assert engine.starts == [1]


def worker(starts, device="cpu", started_s=0.0):
    return Worker(
        pid=1, start="1", host="h", boot="b", started_s=started_s, starts=starts, device=device
    )


@pytest.mark.parametrize(
    ("last", "saved_s", "expected"),
    [
        (None, None, 1),
        (worker(1), None, 2),
        (worker(2), None, 3),
        (worker(3), None, "given up"),
        (worker(3, device=None), None, 3),  # it only waited, and nothing failed
        (worker(3, started_s=100.0), 99.0, "given up"),
        (worker(3, started_s=100.0), 101.0, 1),  # a checkpoint since: it makes progress
        (worker(0), None, 1),  # it stopped in good order
    ],
)
def test_starts_are_counted_from_the_newest_checkpoint(run, last, saved_s, expected):
    if saved_s is not None:
        folder = run.checkpoints / "checkpoint-5"
        folder.mkdir(parents=True)
        os.utime(folder, (saved_s, saved_s))
    engine = Engine(worker=last)
    jobs.start(run, engine)
    if expected == "given up":
        assert engine.starts == []
        job = jobs.read_job(run, engine)
        assert job.state is JobState.FAILED
        assert "died 3 times in a row" in job.error
        assert "last words" in job.error
    else:
        assert engine.starts == [expected]


@pytest.mark.parametrize(
    ("asked_s_ago", "at_once"), [(None, False), (1, False), (jobs.CANCEL_PATIENCE_S + 1, True)]
)
def test_a_cancelled_worker_is_asked_first_and_killed_at_last(run, asked_s_ago, at_once):
    if asked_s_ago is not None:
        run.cancel.touch()
        asked = time.time() - asked_s_ago
        os.utime(run.cancel, (asked, asked))
    engine = Engine(says=WORKING)
    jobs.cancel(run, engine)
    assert engine.stops == [at_once]
    assert run.cancel.exists()
    assert not run.result.exists()


@pytest.mark.parametrize("folder", sorted(ENDED))
def test_a_run_that_ended_is_neither_cancelled_nor_paused(run, folder):
    FOLDERS[folder](run)
    before = run.result.read_bytes()
    engine = Engine(says=WORKING)
    jobs.cancel(run, engine)
    jobs.pause(run, engine)
    assert engine.stops == []
    assert run.result.read_bytes() == before
    assert not run.cancel.exists()


def test_a_paused_worker_may_save_its_work(run):
    engine = Engine(says=WORKING)
    jobs.pause(run, engine)
    assert engine.stops == [False]
