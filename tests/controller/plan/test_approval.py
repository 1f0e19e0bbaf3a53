"""What follows from an approval, as a table: what may only become less, and what must be the same."""

from dataclasses import replace

import pytest

from backends.contract.jobs import Estimate, JobState
from controller.canonical import digest
from controller.lockfile.model import Lockfile
from controller.plan.actions import Evaluate, Judge, Promote, Record, Restore, Reuse, Train
from controller.plan.approval import (
    Approval,
    approve,
    decisions_of,
    identity,
    is_allowed,
    owns,
    terms_of,
)
from controller.plan.observed import Lost, Observed
from controller.plan.plan import make_plan


@pytest.fixture
def plan():
    def made(desired, entry=None, *, jobs=(), found=(), lost=None):
        entries = {} if entry is None else {"faq": entry}
        by_fingerprint = {}
        for job in found:
            by_fingerprint.setdefault(job.fingerprint, []).append(job)
        observed = Observed(
            jobs={job.id: job for job in jobs},
            found={key: tuple(one) for key, one in by_fingerprint.items()},
            lost=lost or {},
        )
        return make_plan({"faq": desired}, Lockfile(finetunes=entries), observed)

    return made


def allowed(now, approval) -> list[bool]:
    return [
        is_allowed(one, now.decisions.get(one.name), now.settings, approval) for one in now.actions
    ]


def approval_of(plan):
    return approve(plan.actions, plan.decisions, plan.settings)


def test_the_way_of_an_approved_job_needs_nobody_again(make, plan):
    desired = make.desired(gate=["held_out_loss < 2"])
    approval = approval_of(plan(desired))
    waiting = make.entry(job=make.open_job(desired))
    raw, scored = make.build(desired, evaluated=False), make.build(desired)
    for stage in (
        plan(desired),
        plan(desired, waiting, jobs=[make.job(desired)]),
        plan(desired, waiting, jobs=[make.job(desired, JobState.INTERRUPTED)]),
        plan(desired, waiting, jobs=[make.job(desired, JobState.SUCCEEDED)]),
        plan(desired, make.entry(raw, candidate=raw.fingerprint)),
        plan(desired, make.entry(scored, candidate=scored.fingerprint)),
        plan(desired, found=[make.job(desired)]),  # somebody else was faster: nothing is paid
    ):
        assert allowed(stage, approval) == [True], stage.actions


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 7},
        {"gate": ["held_out_loss < 9"]},
        {"evaluation": {"max_tokens": 8}},
        {"lifecycle": {"protect": True}},
        {"budget": {"max_usd": 5000}},
    ],
)
def test_nothing_is_allowed_after_a_person_decided_otherwise(make, plan, changed: dict):
    desired = make.desired(gate=["held_out_loss < 2"])
    approval = approval_of(plan(desired))
    now = plan(make.desired(**{"gate": ["held_out_loss < 2"], **changed}))
    assert allowed(now, approval) == [False]


def test_an_own_job_is_recorded_whatever_was_decided_since(make, plan):
    desired, edited = make.desired(), make.desired(seed=7)
    approval = approval_of(plan(desired))
    entry = make.entry(job=make.open_job(desired))
    ended = plan(edited, entry, jobs=[make.job(desired, JobState.SUCCEEDED)])
    assert [type(action) for action in ended.actions] == [Record, Train]
    assert allowed(ended, approval) == [True, False]
    foreign = make.entry(job=make.open_job(edited, id="job-9"))
    other = plan(edited, foreign, jobs=[make.job(edited, JobState.SUCCEEDED, id="job-9")])
    assert allowed(other, approval) == [False]
    assert owns(entry.job, approval, "faq")
    assert not owns(foreign.job, approval, "faq")


@pytest.mark.parametrize(
    ("seen", "now", "expected"),
    [
        ((1, 2), (1, 2), True),
        ((1, 2), (0.5, 1.5), True),
        ((1, 2), (1, 2.01), False),
        ((1, 2), None, False),
        (None, None, True),
        (None, (0, 0), False),
    ],
)
def test_a_price_may_fall_and_never_rise(make, plan, seen, now, *, expected: bool):
    desired = make.desired()
    approval = approval_of(plan(replace(desired, estimate=Estimate(usd=seen))))
    assert allowed(plan(replace(desired, estimate=Estimate(usd=now))), approval) == [expected]


def test_less_may_be_cancelled_than_was_seen_and_nothing_else(make, plan):
    old, new = make.desired(seed=7), make.desired()
    entry = make.entry(job=make.open_job(old))
    with_cancel, without = plan(new, entry, jobs=[make.job(old)]), plan(new)
    other = make.entry(job=make.open_job(old, id="job-9"))
    elsewhere = plan(new, other, jobs=[make.job(old, id="job-9")])
    assert allowed(without, approval_of(with_cancel)) == [True]
    assert allowed(with_cancel, approval_of(without)) == [False]
    assert allowed(elsewhere, approval_of(with_cancel)) == [False]


def test_another_attempt_is_another_approval(make, plan):
    desired = make.desired()
    retried = make.entry(attempts={desired.fingerprint: 2})
    assert allowed(plan(desired, retried), approval_of(plan(desired))) == [False]


def test_without_approval_only_what_needs_none_is_done(make, plan):
    desired, old = make.desired(), make.build(make.desired(seed=7))
    raw = make.build(desired, evaluated=False)
    lost = {"faq": Lost(entry=make.entry(old), source="git")}
    for stage in (
        plan(desired),
        plan(desired, found=[make.job(desired)]),
        plan(desired, lost=lost),
        plan(make.desired(seed=7), make.entry(old, raw, production=raw)),
    ):
        assert allowed(stage, None) == [False], stage.actions
    candidate = make.entry(raw, candidate=raw.fingerprint)
    assert allowed(plan(desired, candidate), None) == [False]  # on which terms is not known
    known = plan(desired, candidate, found=[make.job(desired, JobState.SUCCEEDED)])
    assert allowed(known, None) == [True]


def test_only_some_names_are_approved(make):
    both = {name: make.desired(name, seed=seed) for seed, name in enumerate("ab")}
    plan = make_plan(both, Lockfile(), Observed())
    approval = approve(plan.actions, plan.decisions, only=["b"])
    assert allowed(plan, approval) == [False, True]


def test_what_follows_a_restore_is_in_the_same_list_or_trains_nothing(make, plan):
    desired, old = make.desired(), make.build(make.desired(seed=7))
    lost = {"faq": Lost(entry=make.entry(old, production=old), source="git")}
    first = plan(desired, lost=lost)
    assert [type(action) for action in first.actions] == [Restore, Train]
    assert allowed(plan(desired, make.entry(old, production=old)), approval_of(first)) == [True]
    unsure = plan(desired, lost={"faq": Lost(entry=make.entry(old), source="scripted")})
    assert [type(action) for action in unsure.actions] == [Restore]
    assert allowed(plan(desired, make.entry(old, production=old)), approval_of(unsure)) == [False]
    back = make.desired(seed=7)
    approval = approval_of(plan(back, lost={"faq": Lost(entry=make.entry(old), source="git")}))
    found = plan(back, make.entry(old))
    assert isinstance(found.actions[0], Reuse)
    assert allowed(found, approval) == [True]


def test_an_identity_holds_what_a_person_reads(make, plan):
    desired = make.desired()
    [action] = plan(desired).actions
    assert identity(action) == {
        "action": "Train",
        "name": "faq",
        "fingerprint": desired.fingerprint,
        "attempt": 1,
        "usd": (1.5, 2.25),
        "gpu_hours": None,
        "replaces": None,
        "cancels": None,
    }
    for kind in (Evaluate, Judge, Promote):
        made = kind(name="faq", reason="x", fingerprint="ft1:1")
        assert identity(made)["fingerprint"] == "ft1:1"


def test_other_settings_are_another_decision(make, plan):
    now = plan(make.desired())
    [action] = now.actions
    approval = approve(now.actions, now.decisions, "a")
    assert is_allowed(action, now.decisions["faq"], "a", approval)
    assert not is_allowed(action, now.decisions["faq"], "b", approval)
    assert not is_allowed(action, None, "a", approval)


def test_what_needs_nobody_is_not_done_for_a_fine_tune_that_was_not_chosen(make, plan):
    desired = make.desired()
    build = make.build(desired, evaluated=False)
    found = [make.job(desired, JobState.SUCCEEDED)]
    now = plan(desired, make.entry(build, candidate=build.fingerprint), found=found)
    [action] = now.actions
    assert isinstance(action, Evaluate)
    assert not action.needs_approval
    assert allowed(now, None) == [True]
    assert allowed(now, approval_of(now)) == [True]
    assert allowed(now, approve(now.actions, now.decisions, only=["other"])) == [False]


def test_a_build_replaces_only_the_model_that_a_person_saw(make, plan):
    desired, seen, other = make.desired(), make.desired(seed=7), make.desired(seed=8)
    build, live, late = (make.build(one) for one in (desired, seen, other))
    approval = approval_of(plan(desired, make.entry(live, production=live)))
    for production, expected in ((live, True), (late, False), (None, False), (build, True)):
        entry = make.entry(build, live, late, production=production)
        promotion = Promote(
            name="faq",
            reason="",
            fingerprint=build.fingerprint,
            replaces=entry.production,
        )
        decision = plan(desired, entry).decisions["faq"]
        assert is_allowed(promotion, decision, "", approval) is expected
        asked = replace(promotion, needs_approval=True)
        assert is_allowed(asked, decision, "", approval) is expected


def test_the_end_of_a_job_that_is_cancelled_is_recorded_whatever_was_decided_since(make, plan):
    old, new, edited = make.desired(seed=7), make.desired(), make.desired(seed=9)
    entry = make.entry(job=make.open_job(old))
    approval = approval_of(plan(new, entry, jobs=[make.job(old)]))
    ended = make.job(old, JobState.CANCELLED)
    assert allowed(plan(edited, entry, jobs=[ended]), approval)[0]
    other = make.entry(job=make.open_job(old, id="job-9"))
    assert not allowed(plan(edited, other, jobs=[replace(ended, id="job-9")]), approval)[0]


def test_a_run_that_nobody_approved_follows_every_job(make):
    job = make.open_job(make.desired())
    assert owns(job, None, "faq")
    assert not owns(job, Approval(), "faq")


def test_a_gate_that_allows_a_worse_model_is_another_decision(make):
    absent, empty = make.desired(), make.desired(gate=[])
    assert not absent.spec.allows_worse
    assert empty.spec.allows_worse
    assert decisions_of(absent) != decisions_of(empty)
    assert terms_of(absent.spec, "x") != terms_of(empty.spec, "x")
    assert terms_of(empty.spec, "x") == digest(
        {"gate": [], "allows_worse": True, "evaluation": "x"}
    )
    assert terms_of(absent.spec, "x") == digest({"gate": [], "evaluation": "x"})
