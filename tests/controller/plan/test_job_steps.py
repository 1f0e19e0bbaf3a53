"""What is done about a submitted job, which jobs may be joined, and which attempt is next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.jobs import Job, JobState
from controller.plan.job_steps import JobStep, joinable, next_attempt, step_of


def job(state, attempt=1):
    return Job(id=f"job-{attempt}", fingerprint="ft1:a", attempt=attempt, state=state, created_s=0)


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (JobState.QUEUED, JobStep.WAIT),
        (JobState.RUNNING, JobStep.WAIT),
        (JobState.INTERRUPTED, JobStep.RESUME),
        (JobState.SUCCEEDED, JobStep.RECORD),
        (JobState.FAILED, JobStep.RECORD),
        (JobState.CANCELLED, JobStep.RECORD),
    ],
)
def test_each_state_of_a_job_has_one_next_step(state, step):
    assert step_of(job(state)) is step


def test_a_job_that_the_backend_does_not_know_is_reported():
    assert step_of(None) is JobStep.REPORT_LOST


def test_no_state_is_left_out():
    assert {step_of(job(state)) for state in JobState} == set(JobStep) - {JobStep.REPORT_LOST}


@pytest.mark.parametrize(
    ("states", "unwanted", "attempts"),
    [
        ([], [], []),
        (["queued"], [], [1]),
        (["running"], [], [1]),
        (["interrupted"], [], [1]),
        (["succeeded"], [], [1]),
        (["failed"], [], []),
        (["cancelled"], [], []),
        (["failed", "cancelled", "running"], [], [3]),
        (["succeeded", "failed", "queued"], [], [1, 3]),
        # While a job is being cancelled, an equal one must not wait for it. Its model counts.
        (["running"], ["job-1"], []),
        (["running", "running"], ["job-1"], [2]),
        (["succeeded"], ["job-1"], [1]),
        (["running"], ["job-2"], [1]),
    ],
)
def test_jobs_that_may_be_joined(states, unwanted, attempts):
    jobs = [job(JobState(state), attempt) for attempt, state in enumerate(states, start=1)]
    assert [one.attempt for one in joinable(jobs, unwanted)] == attempts


@given(
    attempts=st.lists(st.integers(1, 50)),
    states=st.data(),
    least=st.integers(1, 50),
)
def test_a_new_attempt_is_new_and_as_high_as_asked_for(attempts, states, least):
    jobs = [job(states.draw(st.sampled_from(JobState)), attempt) for attempt in attempts]
    new = next_attempt(jobs, least)
    assert new not in attempts
    assert new >= least
    assert new == least or new - 1 in attempts


def test_the_first_attempt_is_1():
    assert next_attempt([]) == 1
