"""Jobs that wait at their scheduler: told from others, cancelled and paused."""

import time

import pytest

from backends.contract.jobs import JobState
from backends.local_gpu.machines.claims import mark_of
from backends.local_gpu.machines.placed_workers import job_name
from backends.stores.folder import FolderStore
from backends.stores.objects import StoreError


def test_a_job_that_waits_is_cancelled_from_another_machine(
    backend, elsewhere, placed, scheduler, shared
):
    scheduler.is_full = True
    request = placed()
    job = backend.submit(request)
    elsewhere.find_jobs([request.fingerprint])
    elsewhere.cancel(job.id)
    assert scheduler.queued == {}
    elsewhere.cancel(job.id)
    assert list(shared.glob("runs/*/cancel")) != []
    time.sleep(2.1)
    assert backend.observe([job.id])[job.id].state is JobState.CANCELLED
    backend.submit(request)
    assert len(scheduler.submitted) == 1


@pytest.mark.torch
def test_a_waiting_job_that_its_scheduler_cannot_end_is_cancelled(backend, placed, scheduler, wait):
    scheduler.is_full = scheduler.keeps = True
    job = backend.submit(placed())
    backend.cancel(job.id)
    (name,) = scheduler.queued
    assert wait(job).state is JobState.CANCELLED
    # It is its turn at last: a worker starts, and finds nothing to do.
    scheduler.start(name)
    [(worker, _)] = scheduler.started.values()
    assert worker.wait(60) == 0
    assert backend.observe([job.id])[job.id].state is JobState.CANCELLED


def test_a_paused_job_that_its_scheduler_cannot_end_waits_again(
    backend, placed, scheduler, wait, shared
):
    scheduler.is_full = scheduler.keeps = True
    request = placed()
    job = backend.submit(request)
    backend.pause(job.id)
    stopped = wait(job, lambda one: one.state is JobState.INTERRUPTED)
    assert stopped.error == "stopped while it waited on cluster; it continues when submitted"
    assert backend.submit(request).state is JobState.QUEUED
    assert list(shared.glob("runs/*/pause")) == []
    assert len(scheduler.submitted) == 1


def test_two_stores_on_one_cluster_have_two_jobs_of_one_training(placed, tmp_path):
    request = placed()
    folders = [tmp_path / "ours", tmp_path / "theirs"]
    for folder in folders:
        folder.mkdir()
    stores = [FolderStore(folder) for folder in folders]
    names = [job_name(request, mark_of(store)) for store in [*stores, *stores]]
    assert names[:2] == names[2:]
    assert len({*names}) == 2


@pytest.mark.parametrize("damaged", [b"", b"\xff\xfe", b"0123456789abcdef and more"])
def test_a_damaged_mark_is_named(shared, damaged):
    store = FolderStore(shared)
    mark_of(store)
    (shared / "runs" / "mark").write_bytes(damaged)
    with pytest.raises(StoreError, match=r"^runs/mark in .* is damaged") as raised:
        mark_of(store)
    assert "remove runs/mark" in raised.value.remedy
