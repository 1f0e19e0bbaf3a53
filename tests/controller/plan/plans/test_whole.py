"""The plan as a whole: its order and its ID."""

import itertools
from dataclasses import replace

from backends.contract.jobs import Estimate, Progress
from controller.lockfile.model import Entry, Lockfile
from controller.plan.observed import Observed
from controller.plan.plan import make_plan
from tests.controller.plan.planning import INTERRUPTED, QUEUED, SUCCEEDED, plan


def test_actions_are_sorted_and_one_for_each_fine_tune(make):
    desired = [make.desired(name, seed=n) for n, name in enumerate(["c", "a", "b"])]
    made = plan(desired)
    assert [action.name for action in made.actions] == ["a", "b", "c"]
    assert made.specs == 3
    assert made.of("a").name == "a"
    assert made.of("zzz") is None


def test_the_order_of_what_is_given_does_not_matter(make):
    desired = [make.desired(name, seed=n) for n, name in enumerate(["c", "a", "b"])]
    plans = [plan(list(order)) for order in itertools.permutations(desired)]
    assert all(one == plans[0] for one in plans)


def test_the_id_is_pinned(make):
    assert plan(make.desired()).id == "301aefa3bb25fbe3"
    assert plan([]).id == "647ae9de8889bba8"


def test_the_id_does_not_know_progress_and_words(make):
    desired = make.desired()
    entry = make.entry(job=make.open_job(desired))
    far = make.job(desired, progress=Progress(step=9, total_steps=10))
    states = [far, *(make.job(desired, state) for state in (QUEUED, INTERRUPTED, SUCCEEDED))]
    assert len({plan(desired, entry, jobs=[job]).id for job in states}) == 1
    described = make.desired(description="카페")
    assert plan(described).id == plan(desired).id


def test_the_id_stays_while_an_approved_job_becomes_a_promoted_build(make):
    desired = make.desired(gate=["held_out_loss < 2"])
    waiting = make.entry(job=make.open_job(desired))
    raw, scored = make.build(desired, evaluated=False), make.build(desired)
    ended = [make.job(desired, SUCCEEDED)]
    stages = [
        plan(desired, waiting, jobs=[make.job(desired)]),
        plan(desired, waiting, jobs=[make.job(desired, SUCCEEDED)]),
        plan(desired, make.entry(raw, candidate=raw.fingerprint), found=ended),
        plan(desired, make.entry(scored, candidate=scored.fingerprint), found=ended),
        plan(desired, make.entry(scored, production=scored)),
    ]
    assert len({made.id for made in stages}) == 1


def test_the_id_knows_everything_that_a_person_decides_by(make):
    desired, build = make.desired(), make.build(make.desired(seed=7))
    entry = make.entry(job=make.open_job(desired))
    dear = make.entry(job=make.open_job(desired, estimate_usd=(40, 80)))
    other = make.desired(seed=3)
    plans = [
        plan([]),
        plan(desired),
        plan(make.desired(seed=1)),
        plan(make.desired(gate=["held_out_loss < 1"])),
        plan(make.desired(evaluation={"metrics": ["accuracy"]})),
        plan(make.desired(lifecycle={"protect": True})),
        plan(make.desired(budget={"max_usd": 9})),
        plan(replace(desired, estimate=Estimate(usd=(100, 200)))),
        plan(replace(desired, estimate=Estimate())),
        plan(replace(desired, estimate=Estimate(usd=(1.5, 2.25), gpu_hours=(1, 2)))),
        plan(desired, make.entry(build, production=build)),
        plan(desired, make.entry(attempts={desired.fingerprint: 2})),
        plan([desired, make.desired("b", seed=9)]),
        plan(desired, entry, jobs=[make.job(desired)]),
        plan(other, entry, jobs=[make.job(desired)]),
        plan(other, dear, jobs=[make.job(desired)]),
        plan(other, make.entry(job=make.open_job(desired, id="x")), jobs=[make.job(desired, id="x")]),
        plan(desired, found=[make.job(desired)]),
        plan(make.desired(seed=7), make.entry(build)),
        plan([make.desired(seed=7), make.desired("o", seed=7)], others={"o": make.entry(build)}),
        plan([make.desired("o")], make.entry(build)),
        plan([make.desired("o")], make.entry(build, production=build)),
    ]  # fmt: skip
    assert len({made.id for made in plans}) == len(plans)
    settings = [
        make_plan({"faq": desired}, Lockfile(), Observed(), settings=one).id
        for one in ("", "a", "b")
    ]
    assert len(set(settings)) == 3


def test_an_entry_without_anything_plans_like_none(make):
    assert plan(make.desired(), Entry()) == plan(make.desired())
