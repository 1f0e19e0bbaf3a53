"""Jobs that somebody else starts: they wait, and are given up as those that ftctl places."""

import dataclasses
import json

import pytest

from backends.contract.jobs import JobState
from backends.launchers.table import MANUAL
from backends.local_gpu.machines.claims import take_claim
from backends.local_gpu.machines.objects import key_of, placed_name
from backends.stores.folder import FolderStore

pytestmark = pytest.mark.torch
WAITS = "placed on cluster: waits to be started, by a file of `ftctl export NAME --job KIND`"


@pytest.fixture
def backend(backend, machine, monkeypatch):
    monkeypatch.setattr("backends.local_gpu.machines.placed_workers.FRESH_S", 0.0)
    backend.use_machines({"cluster": dataclasses.replace(machine, launcher=MANUAL)})
    return backend


@pytest.fixture
def store(shared):
    return FolderStore(shared)


def start_and_end(store, job, why):
    """Do as a worker that ends before its first checkpoint."""
    claim = take_claim(store, job.id.removeprefix("run-"))
    claim.release(why)


def test_a_job_whose_workers_fail_again_and_again_is_given_up(backend, placed, store):
    job = backend.submit(request := placed())
    assert (job.state, job.error) == (JobState.QUEUED, WAITS)
    for _ in range(2):
        start_and_end(store, job, "no space left")
        waits = backend.observe([job.id])[job.id]
        assert waits.error == f"{WAITS}; its last worker failed: no space left"
        assert backend.submit(request).state is JobState.QUEUED
    start_and_end(store, job, "no space left")
    ended = backend.observe([job.id])[job.id]
    assert (ended.state, ended.error) == (
        JobState.INTERRUPTED,
        "its worker on cluster has ended (no space left); it continues when submitted",
    )
    failed = backend.submit(request)
    assert failed.state is JobState.FAILED
    assert "its process died 3 times in a row before a checkpoint" in failed.error
    assert "its last words:\nno space left" in failed.error
    assert "then `ftctl retry NAME`" in failed.error
    # The engine may start it again: a worker finds that there is nothing to do.
    name = job.id.removeprefix("run-")
    assert json.loads(store.read(key_of(name, "result.json")))["result"]["state"] == "failed"
    assert take_claim(store, name) is None
    assert list(store.find("jobs/")) == []


def test_workers_that_were_asked_to_stop_count_for_nothing(backend, placed, store):
    job = backend.submit(request := placed())
    for _ in range(5):
        start_and_end(store, job, "")
    assert backend.submit(request).error == WAITS


def test_a_job_that_was_submitted_three_times_may_still_be_started(backend, placed, store):
    job = backend.submit(request := placed())
    for number in (2, 3):
        store.write(key_of(job.id.removeprefix("run-"), placed_name(number)), b"{}")
    assert backend.submit(request).error == WAITS
