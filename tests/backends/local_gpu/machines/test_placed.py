"""Jobs on another machine: trained once, found again, continued, whatever its scheduler says."""

import dataclasses
import json
import os
import signal
import threading
import time

import pytest

from backends.contract.errors import BackendError, SubmissionUnknown
from backends.contract.jobs import Hardware, JobState
from backends.launchers.launcher import LauncherError, Placed, PlacedState
from backends.local_gpu.json_files import read_lines
from backends.local_gpu.machines import machines
from backends.local_gpu.machines.claims import LOST, mark_of, take_claim
from backends.local_gpu.machines.placed_workers import comment_of, job_name
from backends.stores.folder import FolderStore
from backends.stores.objects import StoreError

pytestmark = pytest.mark.torch
LONG = {"num_train_epochs": 30, "lora_dropout": 0.1, "per_device_train_batch_size": 4}
"""180 steps: more than the seconds until the first of them are seen here."""


@pytest.fixture
def often(monkeypatch):
    """A checkpoint after every step."""
    monkeypatch.setenv("FTCTL_CHECKPOINT_SECONDS", "0")


@pytest.fixture
def store(shared):
    return FolderStore(shared)


def losses(folder):
    return {
        (line["step"], kind): line[kind]
        for line in read_lines(folder / "progress.jsonl")
        for kind in ("loss", "held_out_loss")
        if kind in line
    }


def steps_at_least(steps):
    return lambda job: job.progress is not None and job.progress.step >= steps


def worker(scheduler):
    (process, _), *_ = scheduler.started.values()
    return process


def claims(shared):
    return sorted(path.name for path in shared.glob("runs/*/claims/*"))


def messages(backend, job):
    return [event.message for event in backend.events(job.id)]


@pytest.mark.slow
def test_a_job_there_is_the_job_here(backend, placed, make_request, wait, run_folder, elsewhere):
    request = placed(num_train_epochs=1)
    there = wait(backend.submit(request))
    assert there.state is JobState.SUCCEEDED, there.error
    here = wait(backend.submit(make_request(fingerprint="b" * 64, num_train_epochs=1)))
    assert losses(run_folder(there)) == losses(run_folder(here)) != {}
    facts, theirs = there.result.facts, here.result.facts
    assert facts["weights_digest"] == theirs["weights_digest"]
    assert (facts["workers"], facts["steps_lost"]) == (1, 0)
    # A machine that never placed it finds it, with its model.
    (found,) = elsewhere.find_jobs([request.fingerprint])[request.fingerprint]
    assert found.result.model_id == there.result.model_id
    assert any(elsewhere.weights_folder(found.result.model_id).glob("*.safetensors"))
    assert len(list(elsewhere.curve(found.id))) == len(list(backend.curve(there.id))) > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.usefixtures("often")
def test_a_lost_worker_is_followed_by_one_that_continues(
    backend, placed, make_request, wait, scheduler, number
):
    request = placed(**LONG)
    job = backend.submit(request)
    wait(job, steps_at_least(8), patience_s=240)
    process = worker(scheduler)
    process.send_signal(number)
    assert process.wait(60) == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    interrupted = wait(job, lambda job: job.state is JobState.INTERRUPTED)
    assert "its worker on cluster has ended" in interrupted.error
    backend.submit(request)
    ended = wait(job, patience_s=240)
    assert ended.state is JobState.SUCCEEDED, ended.error
    straight = wait(backend.submit(make_request(fingerprint="b" * 64, **LONG)), patience_s=240)
    facts, theirs = ended.result.facts, straight.result.facts
    assert facts["weights_digest"] == theirs["weights_digest"]
    assert facts["workers"] == 2
    if number == signal.SIGTERM:
        assert facts["steps_lost"] == 0
    said = messages(backend, ended)
    assert any(text.startswith("worker 2 continues from step ") for text in said), said


@pytest.mark.slow
@pytest.mark.usefixtures("often")
def test_a_worker_that_was_taken_over_records_nothing(backend, placed, wait, scheduler, shared):
    request = placed(**LONG)
    job = backend.submit(request)
    wait(job, steps_at_least(2), patience_s=240)
    first = worker(scheduler)
    scheduler.started.clear()  # the scheduler has lost it, and it does not answer for a while
    os.kill(first.pid, signal.SIGSTOP)
    try:
        wait(job, lambda job: job.state is JobState.INTERRUPTED)
        backend.submit(request)
        wait(job, lambda _: claims(shared) == ["000001.json", "000002.json"])
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert first.wait(60) == 0
    ended = wait(job, patience_s=240)
    assert ended.state is JobState.SUCCEEDED, ended.error
    (result,) = shared.glob("runs/*/result.json")
    assert json.loads(result.read_text())["generation"] == 2


@pytest.mark.slow
@pytest.mark.usefixtures("often", "two_devices")
def test_two_nodes_train_as_one_and_continue(
    backend, placed, make_request, wait, scheduler, run_folder
):
    # Two batches a step, so that it needs more epochs to be as long.
    twice = {"gradient_accumulation_steps": 2, "num_train_epochs": 80}
    settings = {**LONG, "lora_dropout": 0.0, **twice}
    job = backend.submit(request := placed(gpus=2, nodes=2, **settings))
    wait(job, steps_at_least(4), patience_s=240)
    first, second = scheduler.processes
    second.kill()
    second.wait(30)
    assert first.wait(60) != 0
    wait(job, lambda job: job.state is JobState.INTERRUPTED)
    backend.submit(request)
    ended = wait(job, patience_s=240)
    assert ended.state is JobState.SUCCEEDED, ended.error
    one = wait(backend.submit(make_request(fingerprint="b" * 64, **settings)), patience_s=240)
    both, alone = losses(run_folder(ended)), losses(run_folder(one))
    assert both.keys() == alone.keys()
    assert both == pytest.approx(alone, abs=1e-5)
    assert (ended.result.facts["gpus"], ended.result.facts["workers"]) == (2, 2)


@pytest.mark.slow
def test_a_worker_merges_the_fine_tune_that_it_starts_from(
    backend, placed, make_request, wait, shared
):
    parent = wait(
        backend.submit(make_request(fingerprint="b" * 64, num_train_epochs=1)), patience_s=240
    )
    start = parent.result.model_id
    there = wait(backend.submit(placed(base=start, num_train_epochs=1)), patience_s=240)
    assert there.state is JobState.SUCCEEDED, there.error
    request = make_request(base=start, fingerprint="c" * 64, num_train_epochs=1)
    here = wait(backend.submit(request), patience_s=240)
    facts, theirs = there.result.facts, here.result.facts
    assert facts["weights_digest"] == theirs["weights_digest"]
    raw = next(shared.glob("runs/*/request.json")).read_text()
    assert "merge" in json.loads(raw)["base"]


@pytest.mark.slow
def test_two_machines_that_submit_at_once_train_once(
    backend, elsewhere, placed, wait, scheduler, shared
):
    request = placed(num_train_epochs=1)
    scheduler.forgets = True
    both = [
        threading.Thread(target=one.submit, args=(request,), daemon=True)
        for one in (backend, elsewhere)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert len(scheduler.submitted) == 2
    scheduler.forgets = False
    (job,) = backend.find_jobs([request.fingerprint])[request.fingerprint]
    assert wait(job).state is JobState.SUCCEEDED
    assert claims(shared) == ["000001.json"]
    (same,) = elsewhere.find_jobs([request.fingerprint])[request.fingerprint]
    assert same.state is JobState.SUCCEEDED


def test_a_scheduler_is_believed_only_where_the_store_says_nothing(
    backend, placed, scheduler, store, monkeypatch
):
    scheduler.is_full = True
    request = placed()
    job = backend.submit(request)
    name = job_name(request, mark_of(store))
    assert (job.state, job.error) == (
        JobState.QUEUED,
        "placed on cluster: PENDING (Resources)",
    )
    claim = take_claim(store, job.id.removeprefix("run-"))
    monkeypatch.setattr("backends.local_gpu.machines.placed_workers.FRESH_S", 0.0)
    # A worker shows signs of life, whatever is told of it.
    for lie in ("forgets", "lies", "is_down"):
        setattr(scheduler, lie, True)
        assert backend.observe([job.id])[job.id].state is JobState.RUNNING
        assert backend.submit(request).state is JobState.RUNNING
        setattr(scheduler, lie, False)
    assert len(scheduler.submitted) == 1
    claim.release("no space left")
    scheduler.queued.pop(name)
    ended = backend.observe([job.id])[job.id]
    assert (ended.state, ended.error) == (
        JobState.INTERRUPTED,
        "its worker on cluster has ended (no space left); it continues when submitted",
    )
    scheduler.is_down = True
    silent = backend.observe([job.id])[job.id]
    assert (silent.state, silent.error) == (
        JobState.QUEUED,
        "cluster does not answer: the head does not answer",
    )
    scheduler.is_down = False
    backend.submit(request)
    assert len(scheduler.submitted) == 2


@pytest.mark.parametrize("hardware", [Hardware(), Hardware(machine="other", gpus=64)])
def test_a_job_stays_where_it_was_placed_first(
    backend, placed, machine, scheduler, hardware, monkeypatch
):
    monkeypatch.setattr("backends.local_gpu.machines.placed_workers.FRESH_S", 0.0)
    other = dataclasses.replace(machine, name="other")
    backend.use_machines({"cluster": machine, "other": other})
    scheduler.is_full = True
    request = placed()
    job = backend.submit(request)
    scheduler.queued.clear()  # it is lost
    moved = backend.submit(dataclasses.replace(request, hardware=hardware))
    assert (moved.id, moved.error) == (job.id, "placed on cluster: PENDING (Resources)")
    assert [placement.gpus for placement in scheduler.submitted] == [0, 0]


def test_a_worker_that_follows_a_lost_one_may_take_its_time_to_start(
    backend, placed, scheduler, store, monkeypatch, eventually
):
    monkeypatch.setenv(LOST, "1")
    monkeypatch.setattr("backends.local_gpu.machines.placed_workers.FRESH_S", 0.0)
    scheduler.is_full = True
    job = backend.submit(request := placed())
    take_claim(store, job.id.removeprefix("run-")).ended.set()  # it is cut off
    starts = Placed(state=PlacedState.RUNNING, words="RUNNING", comment=comment_of(request))
    monkeypatch.setattr(scheduler, "find", lambda names: dict.fromkeys(names, starts))
    began_s = time.monotonic()
    while time.monotonic() - began_s < 3:
        assert backend.observe([job.id])[job.id].state is not JobState.INTERRUPTED
        time.sleep(0.3)
    # It hangs.
    eventually(lambda: backend.observe([job.id])[job.id].state is JobState.INTERRUPTED)


def test_a_submission_without_an_answer_is_looked_up(backend, placed, scheduler, monkeypatch):
    monkeypatch.setattr("backends.local_gpu.machines.placed_workers._LOOK_AGAIN_S", (0.0, 0.0))
    scheduler.is_full = scheduler.loses = True
    job = backend.submit(placed())
    assert job.state is JobState.QUEUED
    other = placed(fingerprint="c" * 64)
    scheduler.forgets = True
    with pytest.raises(SubmissionUnknown, match="did not answer whether it placed ftctl-cafe-"):
        backend.submit(other)


def test_a_job_of_that_name_that_is_not_ours_is_refused(
    backend, placed, scheduler, store, monkeypatch
):
    stranger = Placed(state=PlacedState.RUNNING, words="RUNNING", comment="mine")
    request = placed()
    monkeypatch.setattr(scheduler, "find", lambda names: dict.fromkeys(names, stranger))
    with pytest.raises(
        BackendError, match=f"{job_name(request, mark_of(store))} that ftctl did not place"
    ):
        backend.submit(request)
    assert scheduler.submitted == []


def test_the_end_of_a_worker_is_awaited_as_long_as_its_scheduler_may_take(
    backend, placed, scheduler, store, monkeypatch, eventually
):
    monkeypatch.setenv(LOST, "1")
    scheduler.is_full = True
    job = backend.submit(request := placed())
    take_claim(store, job.id.removeprefix("run-")).ended.set()  # it is cut off
    stopped = []
    hangs = Placed(state=PlacedState.RUNNING, words="RUNNING", comment=comment_of(request))
    monkeypatch.setattr(scheduler, "find", lambda names: dict.fromkeys(names, hangs))
    monkeypatch.setattr(scheduler, "stop", lambda name, at_once: stopped.append((name, at_once)))
    scheduler.kills_in_s = 1.0
    eventually(lambda: backend.observe([job.id])[job.id].state is JobState.INTERRUPTED)
    began_s = time.monotonic()
    with pytest.raises(BackendError, match=r"has not ended it in 1 seconds \(RUNNING\)"):
        backend.submit(request)
    assert 1 <= time.monotonic() - began_s < 20
    assert stopped == [(job_name(request, mark_of(store)), True)]
    assert len(scheduler.submitted) == 1


@pytest.mark.slow
def test_a_job_that_runs_is_cancelled_by_the_store(backend, placed, wait, scheduler):
    job = backend.submit(placed(**LONG | {"num_train_epochs": 500}))
    wait(job, steps_at_least(1), patience_s=240)
    backend.cancel(job.id)
    assert wait(job).state is JobState.CANCELLED
    assert worker(scheduler).wait(30) == 0


def test_workers_that_never_come_are_given_up(backend, placed, scheduler, monkeypatch):
    monkeypatch.setattr("backends.local_gpu.machines.placed_workers.FRESH_S", 0.0)
    monkeypatch.setattr(scheduler, "logs", lambda *_: ["no module named backends"])
    scheduler.is_full = True
    request = placed()
    for _ in range(4):
        job = backend.submit(request)
        scheduler.queued.clear()
    assert (job.state, len(scheduler.submitted)) == (JobState.FAILED, 3)
    assert "no module named backends" in job.error


class Ignoring(FolderStore):
    """Accepts the condition to overwrite nothing, and overwrites."""

    def create(self, key, data):
        self.write(key, data)
        return True


def test_a_store_that_ignores_conditions_is_refused_before_anything_is_placed(
    backend, placed, scheduler, shared, monkeypatch
):
    # Only the store is another.
    monkeypatch.setattr(machines, "open_store", lambda *_, **__: Ignoring(shared))
    with pytest.raises(StoreError, match="accepts the condition to overwrite nothing"):
        backend.submit(placed())
    assert (scheduler.submitted, list(shared.glob("runs/*/request.json"))) == ([], [])


def test_a_machine_that_does_not_answer_refuses_a_job(backend, placed, scheduler):
    scheduler.is_down = True
    with pytest.raises(LauncherError, match="the head does not answer"):
        backend.submit(placed())


def test_a_thousand_open_jobs_are_one_question(
    backend, elsewhere, placed, scheduler, store, monkeypatch
):
    scheduler.is_full = True
    job = backend.submit(placed())
    raw = store.read(f"runs/{job.id.removeprefix('run-')}/request.json")
    fingerprints = []
    for number in range(1000):
        digits = f"{number:064x}"[::-1]
        fingerprints.append(f"ft1:{digits}")
        text = raw.replace(b"a" * 64, digits.encode())
        store.create(f"runs/{digits[:16]}-1/request.json", text)
    scheduler.finds.clear()
    monkeypatch.setattr("backends.local_gpu.machines.placed_workers.FRESH_S", 60.0)
    found = elsewhere.find_jobs(fingerprints)
    assert len(found) == 1000
    assert len(scheduler.finds) == 1
