"""A job is submitted once for its inputs and attempt, whoever submits."""

from pathlib import Path

import pytest

from backends.contract.jobs import BaseModel, TrainRequest
from backends.testing import ScriptedBackend
from controller.apply.submit import find_or_submit


def request(fingerprint="ft1:a", attempt=99):
    return TrainRequest(
        name="faq",
        fingerprint=fingerprint,
        attempt=attempt,
        base_model=BaseModel(reference="base", revision=None, identity="base"),
        method="supervised",
        hyperparameters={},
        seed=1,
        train=Path("train.jsonl"),
        held_out=Path("held_out.jsonl"),
        train_origins=Path("train.origins"),
    )


@pytest.fixture
def backend(tmp_path):
    return ScriptedBackend(tmp_path)


@pytest.mark.parametrize(
    ("states", "unwanted", "attempt", "jobs"),
    [
        ([], [], 1, 1),
        (["queued"], [], 1, 1),
        (["succeeded"], [], 1, 1),
        (["failed"], [], 2, 2),
        (["cancelled"], [], 2, 2),
        (["failed", "running"], [], 2, 2),
        (["succeeded", "failed"], [], 1, 2),
        (["running"], ["job-1"], 2, 2),
        (["running", "running"], ["job-1"], 2, 2),
        (["succeeded"], ["job-1"], 1, 1),
        (["vanished"], [], 1, 2),
    ],
)
def test_an_undecided_attempt_joins_a_job_or_is_new(backend, states, unwanted, attempt, jobs):
    for number, state in enumerate(states, start=1):
        find_or_submit(backend, request(), number)
        backend.set_script(f"job-{number}", state)
    backend.submit(request("ft1:other"))
    job = find_or_submit(backend, request(), unwanted=unwanted)
    assert (job.fingerprint, job.attempt) == ("ft1:a", attempt)
    assert backend.submitted == jobs + 1


def test_a_decided_attempt_is_submitted_without_a_look(backend):
    first = find_or_submit(backend, request(), 3)
    again = find_or_submit(backend, request(), 3)
    assert (first.attempt, again.id) == (3, first.id)
    assert backend.calls["find_jobs"] == 0


def test_an_interrupted_job_continues(backend):
    job = find_or_submit(backend, request())
    backend.set_script(job.id, "interrupted", "queued", "running")
    again = find_or_submit(backend, request())
    assert (again.id, again.state, backend.submitted) == (job.id, "queued", 1)
