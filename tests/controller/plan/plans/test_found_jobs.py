"""Jobs that nobody recorded, and each fine-tune by itself."""

import pytest

from backends.contract.jobs import JobState
from controller.errors import Problem
from controller.plan.actions import (
    Adopt,
    Blocked,
    BlockReason,
    Deferred,
    Record,
    Reuse,
    Train,
)
from tests.controller.plan.planning import CANCELLED, FAILED, SUCCEEDED, plan, step


@pytest.mark.parametrize("state", [state for state in JobState if state is not CANCELLED])
def test_a_job_found_by_its_fingerprint_is_adopted(make, state: JobState):
    desired = make.desired()
    action = step(desired, found=[make.job(desired, state)])
    assert isinstance(action, Adopt)
    assert action.job.id == "job-1"
    assert "was already made for these inputs" in action.reason


def test_a_living_job_is_adopted_before_an_ended_one(make):
    desired = make.desired()
    jobs = [
        make.job(desired, FAILED, id="job-1"),
        make.job(desired, SUCCEEDED, id="job-2", attempt=2),
        make.job(desired, FAILED, id="job-3", attempt=3),
    ]
    assert step(desired, found=jobs).job.id == "job-2"
    assert step(desired, found=[jobs[0], jobs[2]]).job.id == "job-3"


def test_a_job_that_failed_before_the_retry_is_passed_over(make):
    desired = make.desired()
    entry = make.entry(
        failures={desired.fingerprint: make.failure()}, attempts={desired.fingerprint: 2}
    )
    action = step(desired, entry, found=[make.job(desired, FAILED)])
    assert isinstance(action, Train)
    assert action.attempt == 2
    assert action.reason == "no build is recorded; attempt 2"


def test_a_job_that_was_cancelled_and_not_recorded_leaves_the_next_attempt(make):
    desired = make.desired()
    action = step(desired, found=[make.job(desired, CANCELLED)])
    assert isinstance(action, Train)
    assert action.attempt == 2


def test_a_model_of_an_earlier_attempt_is_not_paid_again(make):
    desired = make.desired()
    entry = make.entry(attempts={desired.fingerprint: 2})
    action = step(desired, entry, found=[make.job(desired, SUCCEEDED)])
    assert isinstance(action, Adopt)


def test_a_job_is_recorded_whatever_is_wrong_with_its_spec(make):
    desired = make.desired()
    entry = make.entry(job=make.open_job(desired))
    for unread in (
        Deferred(name="faq", reason="no network", remedy=""),
        Blocked(name="faq", reason="typo", remedy="", block_reason=BlockReason.INPUT),
    ):
        made = plan([], entry, jobs=[make.job(desired, SUCCEEDED)], unresolved={"faq": unread})
        assert [type(action) for action in made.actions] == [Record]
        assert plan([], entry, jobs=[make.job(desired)], unresolved={"faq": unread}).actions == (
            unread,
        )


def test_a_silent_backend_blocks_what_needs_its_answer_and_nothing_else(make):
    place = make.desired().spec.place
    silence = {place: Problem(message="503", remedy="try later")}
    build = make.build(make.desired())
    assert step(make.desired(), make.entry(build, production=build), unreachable=silence) is None
    old = make.build(make.desired(seed=7))
    back = step(make.desired(), make.entry(build, old, production=old), unreachable=silence)
    assert isinstance(back, Reuse)
    waits = make.entry(job=make.open_job(make.desired()))
    for action, job in (
        (step(make.desired(), unreachable=silence), None),
        (step(make.desired(), waits, unreachable=silence), "job-1"),
        (step(make.desired(seed=7), waits, unreachable=silence), "job-1"),
    ):
        assert isinstance(action, Blocked)
        assert (action.block_reason, action.job) == (BlockReason.UNREACHABLE, job)
        assert action.reason.endswith(f"{place} gave no answer: 503")


def test_nothing_is_retired_while_a_spec_that_may_be_its_new_name_is_broken(make):
    build = make.build(make.desired())
    broken = Blocked(name="Faq", reason="typo", remedy="", block_reason=BlockReason.INPUT)
    made = plan(
        [make.desired("keep", seed=1)],
        make.entry(build, production=build),
        unresolved={"Faq": broken},
    )
    action = made.of("faq")
    assert isinstance(action, Blocked)
    assert "Faq, which may be its new name, cannot be read" in action.reason
