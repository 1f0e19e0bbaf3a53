"""What follows from an approval, as a table: what may only become less, and what must be the same."""

from dataclasses import replace

import pytest

from backends.contract.jobs import Estimate, JobState
from controller.lockfile.model import Lockfile
from controller.plan.actions import Evaluate, Judge, Promote, Record, Restore, Reuse, Train
from controller.plan.approval import approve, identity, is_allowed, owns
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
