"""The state of one fine-tune: what a new build is compared with, and what was approved before."""

from dataclasses import replace

import pytest

from backends.contract.deployments import Hosting
from backends.contract.jobs import Estimate, JobState
from controller.plan.actions import Blocked, BlockReason
from controller.plan.state import previous_build


def three(make):
    """Return builds of different inputs, the newest in the middle, two of one time."""
    days = ("2026-11-20T10:00:00Z", "2026-11-22T10:00:00Z", "2026-11-20T10:00:00Z")
    return [make.build(make.desired(seed=seed), finished=day) for seed, day in enumerate(days)]


def test_a_new_build_is_compared_with_production_else_the_candidate_else_the_newest(make):
    old, newest, last = three(make)
    every = (old, newest, last)
    assert previous_build(make.entry(*every, production=old, candidate=last.fingerprint)) is old
    assert previous_build(make.entry(*every, candidate=last.fingerprint)) is last
    assert previous_build(make.entry(*every)) is newest
    assert previous_build(make.entry(old, last)) is last
    assert previous_build(make.entry()) is None
    # A build that is not recorded any more is compared with nothing.
    gone = make.entry(*every).model_copy(update={"production": "ft1:0"})
    assert previous_build(gone) is newest


@pytest.mark.parametrize(
    ("origin", "approved"),
    [
        ({"terms": {"name": "faq"}, "hosting": {"usd_per_hour": 1.7}}, True),
        ({"terms": {"name": "faq"}, "hosting": {"usd_per_hour": 1.6}}, False),
        ({"terms": {"name": "faq"}, "hosting": {"usd_per_hour": None}}, False),
        ({"terms": {"name": "faq"}}, False),
        ({"terms": {"name": "other"}, "hosting": {"usd_per_hour": 1.7}}, False),
        ({"terms": "faq", "hosting": {"usd_per_hour": 1.7}}, False),
        ({"hosting": {"usd_per_hour": 1.7}}, False),
        ({}, False),
    ],
)
def test_a_price_by_the_hour_was_approved_for_this_fine_tune_and_no_other(
    make, state, origin, approved
):
    build, job = make.build(make.desired()), make.job(make.desired(), JobState.SUCCEEDED)
    seen = state(entry=make.entry(build), found=[replace(job, origin=origin)])
    assert seen.has_approved_hosting(build, Hosting(usd_per_hour=1.7)) is approved
    foreign = state(entry=make.entry(build), found=[replace(job, id="job-9", origin=origin)])
    assert not foreign.has_approved_hosting(build, Hosting(usd_per_hour=1.7))


@pytest.mark.parametrize(
    ("written", "is_needed"),
    [
        ({}, True),
        ({"gate": ["held_out_loss < 2"]}, False),
        ({"evaluation": {}}, False),
        ({"gate": []}, True),
    ],
)
def test_an_adopted_model_is_measured_only_if_its_spec_asks_for_something(
    make, state, written, is_needed
):
    adopted = make.build(make.desired(), evaluated=False, facts={"adopted": {}})
    seen = state(make.desired(**written), make.entry(adopted))
    assert seen.needs_no_scores(adopted) is is_needed
    trained = make.build(make.desired(), evaluated=False)
    assert not seen.needs_no_scores(trained)
    measured = make.build(make.desired(), facts={"adopted": {}})
    assert not seen.needs_no_scores(measured)


def test_a_job_is_superseded_by_a_spec_that_can_be_read_and_asks_for_something_else(make, state):
    desired = make.desired()
    open_job, other = make.open_job(desired), make.open_job(make.desired(seed=7))
    assert not state(desired, make.entry(job=open_job)).is_superseded
    assert state(desired, make.entry(job=other)).is_superseded
    assert state(None, make.entry(job=open_job)).is_superseded
    assert not state(desired, make.entry()).is_superseded
    unread = Blocked(name="faq", reason="", remedy="", block_reason=BlockReason.INPUT)
    assert not state(None, make.entry(job=other), unresolved={"faq": unread}).is_superseded


def test_how_long_a_job_may_take_is_told_where_nobody_knows_how_long_it_takes(make, state):
    told = "how long the job takes is not known yet: it stops after 0.5 GPU hours"
    limited = make.desired(budget={"max_gpu_hours": 0.5})
    unknown = replace(limited, estimate=Estimate())
    known = replace(limited, estimate=Estimate(gpu_hours=(0.1, 0.2)))
    assert told in list(state(unknown).gate_warnings())
    assert told not in list(state(known).gate_warnings())
    assert told not in list(state(replace(make.desired(), estimate=Estimate())).gate_warnings())


def test_what_stays_in_production_is_named_only_if_it_is_there(make, state):
    old = make.build(make.desired(seed=7))
    stays = state(entry=make.entry(old, production=old)).judged_against
    assert stays.endswith("at scripted, which stays until the gate passes")
    assert state(entry=make.entry(old)).judged_against is None
    assert state(entry=make.entry()).judged_against is None
    alone = make.desired(evaluation={"compare_to": ["base"]})
    beside = make.desired(evaluation={"compare_to": ["base", "production"]})
    entry = make.entry(old, production=old)
    assert state(alone, entry).judged_against.startswith("build ")
    assert state(beside, entry).judged_against.startswith("judged against build ")
