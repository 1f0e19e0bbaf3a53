"""What a plan file allows a later plan: the same or less, each fine-tune by itself."""

import json
from dataclasses import replace

import pytest

from backends.contract.deployments import Hosting
from backends.contract.jobs import Estimate, JobState
from controller.errors import ExitCode
from controller.lockfile.model import Lockfile
from controller.plan.actions import KINDS, Blocked, BlockReason, Promote
from controller.plan.approvals.held import held_by_plan
from controller.plan.approvals.saved import SavedAction, action_ids, read_plan
from controller.plan.observed import Observed
from controller.plan.plan import make_plan
from controller.render.plan_json import plan_json

HOURLY = {"scripted": Hosting(usd_per_hour=1.7, note="billed by the hour")}


def planned(*desired, entries=None, jobs=(), settings="", hosting=None, unresolved=None):
    observed = Observed(jobs={job.id: job for job in jobs}, hosting=hosting or {})
    named = {one.name: one for one in desired}
    recorded = Lockfile(finetunes=entries or {})
    return make_plan(named, recorded, observed, unresolved=unresolved or {}, settings=settings)


def saved(plan, *desired):
    """Return a plan as its file tells it."""
    shown = plan_json(plan, {one.name: one for one in desired})
    return read_plan(json.dumps(shown).encode())


def reasons(now, *approved):
    return {one.action.name: one.reason for one in held_by_plan(now, approved)}


def test_the_same_plan_is_allowed_and_nothing_of_it_differs(make):
    desired = [make.desired(name, seed=seed) for seed, name in enumerate("ab")]
    plan = planned(*desired)
    assert reasons(plan, saved(plan)) == {}
    assert saved(plan).changed_since(plan) == []
    assert saved(plan, *desired).id == plan.id


def test_without_a_plan_everything_that_needs_approval_waits(make):
    plan = planned(make.desired())
    [held] = held_by_plan(plan, [])
    assert held.reason == (
        "no approved plan has it; now planned: train (no build is recorded, $1.50 - $2.25)"
    )
    assert held.remedy == "Look at `ftctl plan`, and approve what it shows."
    assert held.exit_code is ExitCode.PLAN_STALE
    waiting = make.entry(job=make.open_job(make.desired()))
    running = planned(make.desired(), entries={"faq": waiting}, jobs=[make.job(make.desired())])
    assert held_by_plan(running, []) == []
    assert action_ids(running) == {}


@pytest.mark.parametrize(
    ("seen", "now", "allowed"),
    [
        ({"usd": (1, 2)}, {"usd": (1, 2)}, True),
        ({"usd": (1, 2)}, {"usd": (0.5, 1.5)}, True),
        ({"usd": (1, 2)}, {"usd": (1.5, 2.0)}, True),
        ({"usd": (1, 2)}, {"usd": (1, 2.01)}, False),
        ({"usd": (1, 2)}, {}, False),
        ({}, {"usd": (0, 0)}, False),
        ({}, {}, True),
        ({"usd": (1, 2)}, {"usd": (1, 2), "gpu_hours": (1, 9)}, True),
        ({"usd": (1, 2), "gpu_hours": (1, 3)}, {"usd": (1, 2), "gpu_hours": (1, 3.5)}, False),
        ({"usd": (1, 2), "gpu_hours": (1, 3)}, {"usd": (1, 2), "gpu_hours": (1, 2)}, True),
    ],
)
def test_a_price_may_fall_and_hours_may_become_known(make, seen, now, allowed):
    before = replace(make.desired(), estimate=Estimate(**seen))
    after = replace(make.desired(), estimate=Estimate(**now))
    file = saved(planned(before))
    assert (reasons(planned(after), file) == {}) == allowed
    if not allowed:
        assert "approved train (no build is recorded" in reasons(planned(after), file)["faq"]


def test_another_attempt_waits(make):
    desired = make.desired()
    retried = make.entry(attempts={desired.fingerprint: 2})
    now = planned(desired, entries={"faq": retried})
    assert "attempt 2" in reasons(now, saved(planned(desired)))["faq"]


def test_a_job_that_is_not_cancelled_any_more_may_be_submitted(make):
    old, new = make.desired(seed=7), make.desired()
    entry = make.entry(job=make.open_job(old, estimate_usd=(1, 2)))
    cancelling = planned(new, entries={"faq": entry}, jobs=[make.job(old)])
    assert reasons(planned(new), saved(cancelling)) == {}
    assert list(reasons(cancelling, saved(planned(new)))) == ["faq"]
    cheaper = replace(new, estimate=Estimate(usd=(1, 1.5)))
    same = planned(cheaper, entries={"faq": entry}, jobs=[make.job(old)])
    assert reasons(same, saved(cancelling)) == {}
    other = make.entry(job=make.open_job(old, id="job-9", estimate_usd=(1, 2)))
    elsewhere = planned(new, entries={"faq": other}, jobs=[make.job(old, id="job-9")])
    assert list(reasons(elsewhere, saved(cancelling))) == ["faq"]


def test_another_model_in_production_is_another_decision(make):
    one, two, new = (make.desired(seed=seed) for seed in (1, 2, 3))
    builds = make.build(one), make.build(two)
    plans = [planned(new, entries={"faq": make.entry(*builds, production=live)}) for live in builds]
    assert reasons(plans[0], saved(plans[0])) == {}
    assert list(reasons(plans[1], saved(plans[0]))) == ["faq"]
    assert saved(plans[0]).changed_since(plans[1]) == ["faq"]


def test_an_approved_job_that_exists_by_now_is_taken_over(make):
    desired = make.desired()
    file = saved(planned(desired))
    job = make.job(desired, JobState.RUNNING)
    found = make_plan({"faq": desired}, Lockfile(), Observed(found={desired.fingerprint: (job,)}))
    assert list(action_ids(found)) == ["faq"]
    assert reasons(found, file) == {}
    recorded = make.entry(make.build(desired))
    assert reasons(planned(desired, entries={"faq": recorded}), file) == {}


def test_a_removal_is_allowed_only_by_a_removal(make):
    desired, other = make.desired(), make.desired("other", seed=9)
    build = make.build(desired)
    entries = {"faq": make.entry(build, production=build)}
    gone = planned(other, entries=entries)
    assert reasons(gone, saved(gone)) == {}
    retrained = make.desired(seed=4)
    kept = planned(retrained, other, entries=entries)
    assert "now planned: retire (" in reasons(gone, saved(kept))["faq"]
    running = make.entry(build, production=build, job=make.open_job(make.desired(seed=3)))
    cancelling = planned(other, entries={"faq": running}, jobs=[make.job(make.desired(seed=3))])
    assert reasons(gone, saved(cancelling)) == {}
    assert list(reasons(cancelling, saved(gone))) == ["faq"]
    priced = make.open_job(make.desired(seed=3), estimate_usd=(1, 2))
    known = {"faq": make.entry(build, production=build, job=priced)}
    dearer = planned(other, entries=known, jobs=[make.job(make.desired(seed=3))])
    assert reasons(dearer, saved(cancelling)) == {}
    unlike = planned(other, entries={"faq": make.entry(build, job=priced)})
    assert list(reasons(unlike, saved(cancelling))) == ["faq"]


@pytest.mark.parametrize(
    ("approved", "implied"),
    [
        ("train", True),
        *((kind.__name__.lower(), False) for kind in KINDS if kind.__name__ != "Train"),
        ("", False),
        ("Train", False),
    ],
)
def test_only_an_approved_training_implies_the_promotion_of_its_build(approved, implied):
    seen = SavedAction(name="faq", action=approved, id="1", fingerprint="ft1:a", replaces="ft1:b")
    promotion = Promote(
        name="faq", reason="", fingerprint="ft1:a", replaces="ft1:b", needs_approval=True
    )
    assert seen.implies(promotion) == implied
    assert not seen.implies(replace(promotion, replaces="ft1:c"))


def test_a_price_by_the_hour_is_a_part_of_what_was_approved(make):
    desired = replace(make.desired(), estimate=Estimate(usd=(1, 2)))
    cheaper = replace(desired, estimate=Estimate(usd=(1, 1.5)))
    file = saved(planned(desired, hosting=HOURLY))
    assert reasons(planned(cheaper, hosting=HOURLY), file) == {}
    renamed = {"scripted": Hosting(usd_per_hour=1.7, note="another note")}
    assert reasons(planned(cheaper, hosting=renamed), file) == {}
    for hosting in (
        {"scripted": Hosting(usd_per_hour=1.8)},
        {"scripted": Hosting(usd_per_hour=None)},
        {},
    ):
        assert list(reasons(planned(cheaper, hosting=hosting), file)) == ["faq"], hosting
    without = saved(planned(desired))
    assert list(reasons(planned(cheaper, hosting=HOURLY), without)) == ["faq"]


def test_what_a_person_decided_otherwise_is_named(make):
    desired, edited = make.desired(), make.desired(gate=["held_out_loss < 9"])
    plan = planned(desired)
    file = saved(plan)
    assert reasons(planned(desired, settings="x"), file)["faq"].startswith(
        f"ftctl.yaml changed since plan {plan.id} was approved; now planned: train"
    )
    assert reasons(planned(edited), file)["faq"].startswith(
        f"its spec or its data changed since plan {plan.id} was approved; now planned: train"
    )
    assert file.changed_since(planned(desired, settings="x")) == ["ftctl.yaml"]
    assert file.changed_since(planned(edited)) == ["faq"]


def test_one_of_several_approved_plans_is_enough_and_the_last_that_has_it_is_named(make):
    a, b = make.desired("a", seed=1), make.desired("b", seed=2)
    first, second = saved(planned(a)), saved(planned(b))
    both = planned(a, b)
    assert reasons(both, first, second) == {}
    assert list(reasons(both, first)) == ["b"]
    dearer = planned(replace(a, estimate=Estimate(usd=(1, 99))))
    assert reasons(dearer, first, second)["a"].startswith(f"plan {first.id} approved train")


def test_less_is_planned_than_was_approved(make):
    a, b = make.desired("a", seed=1), make.desired("b", seed=2)
    file = saved(planned(a, b))
    assert file.changed_since(planned(a)) == ["b"]
    silent = Blocked(name="b", reason="", remedy="", block_reason=BlockReason.UNREACHABLE)
    assert file.changed_since(planned(a, unresolved={"b": silent})) == []
    assert file.changed_since(planned(a, b, make.desired("c", seed=3))) == ["c"]
    waiting = make.desired("d", seed=4)
    entry = make.entry(job=make.open_job(waiting))
    more = planned(a, b, waiting, entries={"d": entry}, jobs=[make.job(waiting)])
    assert file.changed_since(more) == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format":1,"id":"x","settings":"","decisions":{}}',
        b'{"format":2,"id":"x","settings":""}',
        b'{"format":2,"id":"x","settings":"","decisions":{},"actions":[{}]}',
        b'{"format":2,"id":"x","settings":"","decisions":{},"actions":[' + b"[" * 200_000,
        b"\xff",
    ],
)
def test_what_is_no_plan_file_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"\S"):
        read_plan(text)
