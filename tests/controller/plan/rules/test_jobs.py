"""Rules for a recorded open job, one table each."""

import pytest

from backends.contract.jobs import JobState
from controller.errors import Problem
from controller.plan.rules import jobs

RUNNING, INTERRUPTED = JobState.RUNNING, JobState.INTERRUPTED


def following(make, state: JobState = RUNNING, **other):
    """Return a state with an open job, made for the spec or for other inputs."""
    desired = make.desired(**other)
    return {
        "entry": make.entry(job=make.open_job(desired)),
        "jobs": [make.job(desired, state)],
    }


def unseen(make, **answers):
    return {"entry": make.entry(job=make.open_job(make.desired())), **answers}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (lambda _: {}, None),
        (following, None),
        (
            unseen,
            "Blocked: job job-1 is recorded, but the backend does not know it",
        ),
        (
            lambda make: unseen(make, skipped={"scripted": "no key is set"}),
            "Wait: job job-1 is recorded as open; scripted was not asked",
        ),
        (
            lambda make: unseen(make, unreachable={"scripted": Problem(message="503")}),
            "Blocked: job job-1 is recorded as open; scripted gave no answer: 503",
        ),
        (
            lambda make: unseen(make, unreachable={"openai": Problem(message="503")}),
            "Blocked: job job-1 is recorded, but the backend does not know it",
        ),
    ],
)
def test_report_missing(make, state, shown, given, expected):
    assert shown(jobs.report_missing(state(**given(make)))) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (lambda _: {}, None),
        (following, None),
        (
            lambda make: following(make, INTERRUPTED),
            "Resume: the worker of job job-1 is gone; it goes on from its last checkpoint",
        ),
        (lambda make: following(make, INTERRUPTED, seed=7), None),
    ],
)
def test_resume(make, state, shown, given, expected):
    assert shown(jobs.resume(state(**given(make)))) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (lambda _: {}, None),
        (following, "Wait: job job-1 is running"),
        (lambda make: following(make, JobState.QUEUED), "Wait: job job-1 is queued"),
        (lambda make: following(make, seed=7), None),
    ],
)
def test_wait(make, state, shown, given, expected):
    assert shown(jobs.wait(state(**given(make)))) == expected
