"""A job's life without training: every state is made of files and processes."""

import fcntl
import json
import os
import threading
import time
from dataclasses import replace

import pytest

from backends.contract.jobs import JobState
from backends.local_gpu.jobs import jobs
from backends.local_gpu.jobs.run_dir import RunDir, create, write_end
from backends.local_gpu.jobs.worker_record import Worker, read_worker, write_worker
from backends.local_gpu.jobs.workers.process_identity import describe

pytestmark = pytest.mark.torch

DEAD = {"pid": 2**22 - 3, "start": "1", "host": os.uname().nodename, "boot": ""}


@pytest.fixture
def run(tmp_path, make_request):
    """A run that nobody has started."""
    return create(tmp_path / "state", make_request())


@pytest.fixture
def look(backend, run):
    return lambda: backend.observe([run.job_id])[run.job_id]


def died(run, starts, device="cpu"):
    worker = Worker(**DEAD, started_s=time.time(), starts=starts, device=device)
    write_worker(run, worker)


def test_a_run_without_a_child_is_interrupted(run, look):
    assert look().state is JobState.INTERRUPTED
    died(run, 1)
    assert look().state is JobState.INTERRUPTED
    assert "continues when submitted" in look().error


def test_a_living_child_waits_or_works(run, look):
    write_worker(run, describe(os.getpid(), 1))
    assert look().state is JobState.QUEUED
    write_worker(run, describe(os.getpid(), 1, "cpu"))
    assert look().state is JobState.RUNNING


def test_progress_joins_the_newest_of_each_kind(run, look):
    lines = [
        {"step": 3, "total_steps": 9, "epoch": 1, "held_out_loss": 2.5},
        {"step": 4, "total_steps": 9, "epoch": 1.3, "loss": 3.0, "learning_rate": 0.1},
        {"message": "hello"},
    ]
    run.progress.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"st')
    progress = look().progress
    assert (progress.step, progress.total_steps, progress.epoch) == (4, 9, 1.3)
    assert (progress.loss, progress.held_out_loss, progress.eta_s) == (3.0, 2.5, None)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"state": "succeeded"}'])
def test_a_damaged_result_or_a_model_that_is_gone_is_a_failure_that_says_so(run, look, text):
    run.result.write_text(text)
    job = look()
    assert job.state is JobState.FAILED
    assert "damaged or its model is gone" in job.error
    assert job.finished_s is not None


def test_a_failure_shows_its_error_with_the_remedy_below(run, look, backend):
    write_end(run, "failed", "it broke", "mend it\nthen retry")
    assert look().error == "it broke\n    mend it\n    then retry"
    run.log.write_text("a\n\nlast words\n")
    messages = [event.message for event in backend.events(run.job_id)]
    assert messages[-2:] == ["last words", "failed: it broke\n    mend it\n    then retry"]


def test_finished_jobs_stay_what_they_are(run, look, backend, make_request):
    write_end(run, "failed", "it broke")
    backend.cancel(run.job_id)
    assert backend.submit(make_request()).state is JobState.FAILED
    assert look().state is JobState.FAILED
    assert not run.cancel.exists()


def test_cancelling_a_run_without_a_child_ends_it(run, backend, make_request):
    backend.cancel(run.job_id)
    assert json.loads(run.result.read_text())["state"] == "cancelled"
    assert backend.submit(make_request()).state is JobState.CANCELLED
    assert read_worker(run) is None


def test_a_child_that_died_while_being_cancelled_leaves_a_cancelled_run(
    run, look, backend, make_request
):
    died(run, 1)
    run.cancel.touch()
    assert look().state is JobState.CANCELLED
    assert look().finished_s is not None
    assert backend.submit(make_request()).state is JobState.CANCELLED


def test_three_deaths_without_a_checkpoint_are_enough(run, backend, make_request):
    run.log.write_text("loading\nterminate called\n")
    died(run, 3)
    job = backend.submit(make_request())
    assert job.state is JobState.FAILED
    assert "died 3 times in a row" in job.error
    assert "terminate called" in job.error
    assert "per_device_train_batch_size" in job.error


def test_what_a_dying_process_still_holds_is_waited_for(run, backend, make_request):
    died(run, 3)
    lock = run.lock.open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    release = threading.Timer(0.3, lock.close)
    release.start()
    job = backend.submit(make_request())
    release.join(10)
    assert job.state is JobState.FAILED  # the fourth start in a row: the run was not left as it was


def test_while_the_lock_is_held_nothing_is_started(run, backend, make_request, monkeypatch):
    monkeypatch.setattr(jobs, "_DYING_S", 0.2)
    with run.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        backend.submit(make_request())
    assert read_worker(run) is None


def test_jobs_are_found_by_name_oldest_first(tmp_path, backend, make_request):
    first = replace(make_request(), origin={"inputs": {"seed": 1}})
    old = create(tmp_path / "state", first)
    new = create(tmp_path / "state", replace(first, fingerprint="ft1:" + "00" * 32, origin={}))

    found = backend.find_jobs_by_name([first.name, "nobody"])

    assert found.keys() == {first.name}
    assert [job.id for job in found[first.name]] == [old.job_id, new.job_id]
    assert [job.origin for job in found[first.name]] == [{"inputs": {"seed": 1}}, {}]
    assert backend.find_jobs([first.fingerprint])[first.fingerprint][0].origin == first.origin


def test_unknown_jobs_are_absent(backend, run):
    names = ["run-0000000000000000-1", "../../etc", "run-../x", "ftjob-1", ""]
    assert backend.observe(names) == {}
    for name in names:
        backend.cancel(name)
        assert list(backend.events(name)) == []
    found = backend.find_jobs(["ft1:" + "0" * 64, "ft1:" + "a" * 16 + "b" * 48])
    assert found == {}
    (job,) = backend.find_jobs(["ft1:" + "a" * 64])["ft1:" + "a" * 64]
    assert job.id == run.job_id


def test_estimating(backend, make_request):
    estimate = backend.estimate(
        make_request(gradient_accumulation_steps=4, num_train_epochs=2), 100, None
    )
    assert estimate.steps == 8
    assert estimate.usd == (0.0, 0.0)


def test_the_runs_folder_is_known_by_its_name_alone(run):
    assert RunDir(path=run.path).job_id == f"run-{run.path.name}"
