"""The planner, as a table: every situation, what is done about it, and why."""

import itertools
from dataclasses import replace

import pytest

from backends.base import Estimate, JobState, Progress
from controller.lock.model import Entry, Lockfile
from controller.plan.actions import (
    Adopt,
    Blocked,
    DataChange,
    Evaluate,
    Judge,
    Obstacle,
    Promote,
    Protect,
    Record,
    Resume,
    Retire,
    Reuse,
    Train,
    Wait,
)
from controller.plan.fingerprint import short
from controller.plan.plan import Observed, make_plan

FAILED, SUCCEEDED, CANCELLED = JobState.FAILED, JobState.SUCCEEDED, JobState.CANCELLED
RUNNING, QUEUED, INTERRUPTED = JobState.RUNNING, JobState.QUEUED, JobState.INTERRUPTED


def plan(desired, entry=None, *, jobs=(), found=(), others=None):
    finetunes = dict(others or {})
    if entry is not None:
        finetunes["faq"] = entry
    by_fingerprint = {}
    for job in found:
        by_fingerprint.setdefault(job.fingerprint, []).append(job)
    observed = Observed(
        jobs={job.id: job for job in jobs},
        found={key: tuple(made) for key, made in by_fingerprint.items()},
    )
    declared = {one.name: one for one in (desired if isinstance(desired, list) else [desired])}
    return make_plan(declared, Lockfile(finetunes=finetunes), observed)


def step(*arguments, **settings):
    return plan(*arguments, **settings).of("faq")


# --- towards a first model --------------------------------------------------------------------


def test_what_was_never_trained_is_trained(make):
    desired = make.desired()
    action = step(desired)
    assert isinstance(action, Train)
    assert action.reason == "no build is recorded"
    assert (action.fingerprint, action.attempt, action.retrain, action.supersedes) == (
        desired.fingerprint,
        1,
        False,
        None,
    )
    assert action.changes == ()


@pytest.mark.parametrize(
    ("state", "kind", "reason"),
    [
        (QUEUED, Wait, "job job-1 is queued"),
        (RUNNING, Wait, "job job-1 is running"),
        (INTERRUPTED, Resume, "the worker of job job-1 is gone; it goes on"),
        (SUCCEEDED, Record, "job job-1 has succeeded"),
        (FAILED, Record, "job job-1 has failed"),
        (CANCELLED, Record, "job job-1 was cancelled"),
    ],
)
def test_an_open_job_is_followed(make, state: JobState, kind: type, reason: str):
    desired = make.desired()
    action = step(desired, make.entry(job=make.open_job(desired)), jobs=[make.job(desired, state)])
    assert isinstance(action, kind)
    assert action.reason.startswith(reason)
    assert action.job.state is state


def test_a_recorded_job_that_vanished_needs_a_person(make):
    desired = make.desired()
    action = step(desired, make.entry(job=make.open_job(desired)))
    assert isinstance(action, Blocked)
    assert action.obstacle is Obstacle.DRIFT
    assert "the backend does not know it" in action.reason
    assert "ftctl retry faq" in action.remedy


def test_a_candidate_is_evaluated_then_promoted(make):
    desired = make.desired(gate=["held_out_loss < 2"])
    raw = make.build(desired, evaluated=False)
    action = step(desired, make.entry(raw, candidate=raw.fingerprint))
    assert isinstance(action, Evaluate)
    assert action.reason == "it was not evaluated yet"
    scored = make.build(desired)
    action = step(desired, make.entry(scored, candidate=scored.fingerprint))
    assert isinstance(action, Promote)
    assert action.reason == "the gate passed"


def test_without_a_gate_a_candidate_is_promoted(make):
    build = make.build(make.desired())
    action = step(make.desired(), make.entry(build, candidate=build.fingerprint))
    assert isinstance(action, Promote)
    assert action.reason == "no gate is declared"


def test_a_candidate_that_fails_the_gate_stays_outside(make):
    desired = make.desired(gate=["held_out_loss < 1"])
    build = make.build(desired)
    action = step(desired, make.entry(build, candidate=build.fingerprint))
    assert isinstance(action, Blocked)
    assert action.obstacle is Obstacle.GATE
    assert "held_out_loss < 1: held_out_loss is 1.25" in action.reason
    assert "Nothing is in production" in action.remedy


def test_production_stays_while_a_new_build_fails(make):
    old = make.build(make.desired())
    desired = make.desired(seed=7, gate=["held_out_loss < 1"])
    new = make.build(desired)
    action = step(desired, make.entry(old, new, production=old, candidate=new.fingerprint))
    assert isinstance(action, Blocked)
    assert f"{short(old.fingerprint)} stays in production".capitalize() in action.remedy


def test_nothing_is_done_when_production_is_as_declared(make):
    desired = make.desired(gate=["held_out_loss < 2"])
    build = make.build(desired)
    assert plan(desired, make.entry(build, production=build)).actions == ()


# --- changes ----------------------------------------------------------------------------------


def test_changed_inputs_retrain_and_are_named(make):
    old = make.desired(hyperparameters={"learning_rate": 1e-4})
    build = make.build(old)
    new = make.desired(hyperparameters={"learning_rate": 2e-4}, seed=7)
    action = step(new, make.entry(build, production=build))
    assert isinstance(action, Train)
    assert action.retrain
    assert action.reason == "hyperparameters.learning_rate, seed changed"
    assert [(c.field, c.old, c.new) for c in action.changes] == [
        ("hyperparameters.learning_rate", 1e-4, 2e-4),
        ("seed", 42, 7),
    ]


def test_changed_data_says_how_many_examples(make):
    build = make.build(make.desired())
    new = make.desired(facts=make.data(train="sha256:" + "9" * 64))
    change = DataChange(added=214, removed=3)
    counted = replace(new, data_changes={build.data.train.digest: change})
    assert step(counted, make.entry(build, production=build)).data_change == change
    assert step(new, make.entry(build, production=build)).data_change is None


def test_a_job_for_inputs_nobody_wants_is_superseded(make):
    old, new = make.desired(), make.desired(seed=7)
    action = step(new, make.entry(job=make.open_job(old)), jobs=[make.job(old)])
    assert isinstance(action, Train)
    assert action.supersedes == "job-1"


def test_a_finished_job_is_recorded_even_when_nobody_wants_it_any_more(make):
    old, new = make.desired(), make.desired(seed=7)
    action = step(new, make.entry(job=make.open_job(old)), jobs=[make.job(old, SUCCEEDED)])
    assert isinstance(action, Record)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"evaluation": {"metrics": ["accuracy"]}}, "metrics changed"),
        ({"evaluation": {"compare_to": []}}, "compare_to changed"),
        ({"evaluation": {"max_tokens": 8}}, "max_tokens changed"),
    ],
)
def test_changed_evaluation_evaluates_production_again(make, changed: dict, reason: str):
    build = make.build(make.desired())
    action = step(make.desired(**changed), make.entry(build, production=build))
    assert isinstance(action, Evaluate)
    assert action.reason == reason


def test_changed_held_out_examples_evaluate_again(make):
    build = make.build(make.desired())
    new = make.desired(facts=make.data(held_out="sha256:" + "9" * 64))
    action = step(new, make.entry(build, production=build))
    assert isinstance(action, Evaluate)
    assert action.reason == "held_out changed"


@pytest.mark.parametrize("gate", [["held_out_loss < 1"], ["held_out_loss < 2"]])
def test_a_changed_gate_judges_recorded_scores_again(make, gate: list[str]):
    build = make.build(make.desired())
    action = step(make.desired(gate=gate), make.entry(build, production=build))
    assert isinstance(action, Judge)
    assert action.reason == "the gate was changed"


def test_production_that_fails_a_new_gate_stays(make):
    desired = make.desired(gate=["held_out_loss < 1"])
    build = make.build(desired)
    assert not build.verdict.passed
    assert step(desired, make.entry(build, production=build)) is None


@pytest.mark.parametrize(
    "changed",
    [{"description": "x"}, {"owner": "x"}, {"labels": {"a": "b"}}, {"budget": {"max_usd": 0}}],
)
def test_words_for_people_change_nothing(make, changed: dict):
    build = make.build(make.desired())
    assert plan(make.desired(**changed), make.entry(build, production=build)).actions == ()


# --- going back -------------------------------------------------------------------------------


def test_going_back_reuses_a_build(make):
    old, new = make.build(make.desired()), make.build(make.desired(seed=7))
    action = step(make.desired(), make.entry(old, new, production=new))
    assert isinstance(action, Reuse)
    assert (action.fingerprint, action.source, action.promote) == (old.fingerprint, "faq", True)
    assert action.reason == "these inputs were trained before, on 2026-11-20"


@pytest.mark.parametrize(
    ("settings", "promote"),
    [
        ({"gate": ["held_out_loss < 2"]}, True),
        ({"gate": ["held_out_loss < 1"]}, False),
        ({"evaluation": {"metrics": ["accuracy"]}}, False),
    ],
)
def test_a_build_goes_straight_back_only_with_scores_that_pass(make, settings, promote):
    old, new = make.build(make.desired()), make.build(make.desired(seed=7))
    action = step(make.desired(**settings), make.entry(old, new, production=new))
    assert isinstance(action, Reuse)
    assert action.promote is promote


def test_going_back_while_another_job_runs_cancels_that(make):
    old, unwanted = make.build(make.desired()), make.desired(seed=7)
    entry = make.entry(old, production=old, job=make.open_job(unwanted))
    action = step(make.desired(), entry, jobs=[make.job(unwanted)])
    assert isinstance(action, Reuse)
    assert (action.supersedes, action.promote) == ("job-1", True)


def test_going_back_to_production_forgets_a_candidate(make):
    old, new = make.build(make.desired()), make.build(make.desired(seed=7))
    entry = make.entry(old, new, production=old, candidate=new.fingerprint)
    action = step(make.desired(), entry)
    assert isinstance(action, Reuse)
    assert action.promote


def test_another_fine_tune_with_equal_inputs_shares_its_build(make):
    build = make.build(make.desired("other"))
    action = step(make.desired(), others={"other": make.entry(build, production=build)})
    assert isinstance(action, Reuse)
    assert (action.source, action.reason) == (
        "other",
        "these inputs were trained before for other, on 2026-11-20",
    )


# --- jobs that nobody recorded ----------------------------------------------------------------


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


# --- what stops -------------------------------------------------------------------------------


def test_a_failed_fingerprint_is_not_tried_again(make):
    desired = make.desired()
    action = step(desired, make.entry(failures={desired.fingerprint: make.failure()}))
    assert isinstance(action, Blocked)
    assert action.obstacle is Obstacle.FAILURE
    assert action.reason == "job job-1 failed: CUDA out of memory"
    assert "ftctl retry faq" in action.remedy


def test_other_inputs_are_tried_after_a_failure(make):
    entry = make.entry(failures={make.desired().fingerprint: make.failure()})
    assert isinstance(step(make.desired(seed=7), entry), Train)


@pytest.mark.parametrize(
    ("budget", "estimate", "blocked"),
    [
        ({"max_usd": 2.25}, Estimate(usd=(1, 2.25)), False),
        ({"max_usd": 2.24}, Estimate(usd=(1, 2.25)), True),
        ({"max_usd": 0}, Estimate(usd=(0, 0)), False),
        ({"max_usd": 0}, Estimate(usd=None), False),
        ({"max_gpu_hours": 1}, Estimate(gpu_hours=(0.5, 1.5)), True),
        ({"max_gpu_hours": 2}, Estimate(gpu_hours=(0.5, 1.5)), False),
    ],
)
def test_a_budget_is_kept_by_the_high_end(make, budget, estimate, *, blocked: bool):
    desired = replace(make.desired(budget=budget), estimate=estimate)
    action = step(desired)
    assert isinstance(action, Blocked if blocked else Train)
    if blocked:
        assert action.obstacle is Obstacle.BUDGET
        assert f"budget.{next(iter(budget))}" in action.reason


def test_a_budget_never_stops_what_is_free(make):
    old, new = make.build(make.desired()), make.build(make.desired(seed=7))
    back = make.desired(budget={"max_usd": 0})
    assert isinstance(step(back, make.entry(old, new, production=new)), Reuse)
    assert isinstance(step(back, found=[make.job(back)]), Adopt)


def test_a_suspended_fine_tune_is_left_alone(make):
    desired = make.desired(lifecycle={"suspend": True})
    assert step(desired) is None
    entry = make.entry(job=make.open_job(desired))
    assert step(desired, entry, jobs=[make.job(desired, SUCCEEDED)]) is None


# --- pins and protection ----------------------------------------------------------------------


def test_a_pinned_build_goes_to_production_whatever_its_scores(make):
    old, new = make.build(make.desired()), make.build(make.desired(seed=7))
    pinned = make.desired(
        seed=7, gate=["held_out_loss < 0"], lifecycle={"pin": short(old.fingerprint)}
    )
    action = step(pinned, make.entry(old, new, production=new))
    assert isinstance(action, Reuse)
    assert (action.fingerprint, action.promote) == (old.fingerprint, True)


def test_a_pin_keeps_changed_inputs_from_training(make):
    old = make.build(make.desired())
    pinned = make.desired(seed=7, lifecycle={"pin": old.fingerprint})
    assert step(pinned, make.entry(old, production=old)) is None


@pytest.mark.parametrize("pin", ["ffff", "f" * 70, "job-1"])
def test_a_pin_must_name_one_recorded_build(make, pin: str):
    old = make.build(make.desired())
    action = step(make.desired(lifecycle={"pin": pin}), make.entry(old, production=old))
    assert isinstance(action, Blocked)
    assert action.obstacle is Obstacle.LIFECYCLE
    assert short(old.fingerprint) in action.remedy


def test_a_pin_that_names_two_builds_is_refused(make):
    builds = [make.build(make.desired(seed=seed)) for seed in range(40)]
    digits = [build.fingerprint.partition(":")[2][0] for build in builds]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    action = step(make.desired(lifecycle={"pin": twice}), make.entry(*builds))
    assert isinstance(action, Blocked)
    assert f"names {digits.count(twice)} recorded builds" in action.reason


def test_a_build_from_another_base_model_is_not_measured_with_this_one(make):
    old = make.build(make.desired())
    pinned = make.desired(
        base="scripted:acme/other@1",
        evaluation={"metrics": ["accuracy"]},
        lifecycle={"pin": short(old.fingerprint)},
    )
    action = step(pinned, make.entry(old, production=old))
    assert not isinstance(action, Train)


@pytest.mark.parametrize("protect", [True, False])
def test_protection_is_remembered(make, *, protect: bool):
    desired = make.desired(lifecycle={"protect": protect})
    build = make.build(desired)
    action = step(desired, make.entry(build, production=build, protect=not protect))
    assert isinstance(action, Protect)
    assert action.protect is protect
    assert step(desired, make.entry(build, production=build, protect=protect)) is None


def test_a_fine_tune_without_spec_is_retired(make):
    build = make.build(make.desired())
    keep = make.desired("keep")
    action = step([keep], make.entry(build, production=build))
    assert isinstance(action, Retire)
    assert action.reason == "finetunes/faq.yaml was removed; its models are kept"


def test_a_protected_fine_tune_is_never_retired(make):
    build = make.build(make.desired())
    action = step([make.desired("keep")], make.entry(build, production=build, protect=True))
    assert isinstance(action, Blocked)
    assert "protect: false" in action.remedy


def test_nothing_is_retired_when_no_spec_is_left(make):
    build = make.build(make.desired())
    action = step([], make.entry(build, production=build))
    assert isinstance(action, Blocked)
    assert "looks like a mistake" in action.reason


def test_a_finished_job_is_recorded_before_its_fine_tune_is_retired(make):
    desired = make.desired()
    entry = make.entry(job=make.open_job(desired))
    keep = make.desired("keep", seed=1)
    assert isinstance(step([keep], entry, jobs=[make.job(desired, SUCCEEDED)]), Record)
    assert isinstance(step([keep], entry, jobs=[make.job(desired)]), Retire)
    assert isinstance(step([keep], entry), Retire)


# --- the plan as a whole ----------------------------------------------------------------------


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
    assert plan(make.desired()).id == "83cef4f2119a7ecb"
    assert plan([]).id == "4f53cda18c2baa0c"


def test_the_id_does_not_know_progress_prices_and_words(make):
    desired = make.desired()
    entry = make.entry(job=make.open_job(desired))
    far = make.job(desired, progress=Progress(step=9, total_steps=10))
    queued = make.job(desired, QUEUED)
    assert plan(desired, entry, jobs=[far]).id == plan(desired, entry, jobs=[queued]).id
    dear = replace(desired, estimate=Estimate(usd=(100, 200)))
    assert plan(dear).id == plan(desired).id
    described = make.desired(description="카페")
    assert plan(described).id == plan(desired).id


def test_the_id_knows_what_would_be_done(make):
    desired, build = make.desired(), make.build(make.desired(seed=7))
    entry = make.entry(job=make.open_job(desired))
    ids = [
        plan([]).id,
        plan(desired).id,
        plan(make.desired(seed=1)).id,
        plan(desired, make.entry(attempts={desired.fingerprint: 2})).id,
        plan([desired, make.desired("b", seed=9)]).id,
        plan(desired, entry, jobs=[make.job(desired)]).id,
        plan(desired, entry, jobs=[make.job(desired, SUCCEEDED)]).id,
        plan(make.desired(seed=3), entry, jobs=[make.job(desired)]).id,
        plan(make.desired(seed=3), entry, jobs=[make.job(desired, id="job-2")]).id,
        plan(desired, found=[make.job(desired)]).id,
        plan(make.desired(seed=7), make.entry(build)).id,
        plan(make.desired(seed=7), others={"o": make.entry(build)}).id,
    ]
    assert len(set(ids)) == len(ids)


def test_an_entry_without_anything_plans_like_none(make):
    assert plan(make.desired(), Entry()) == plan(make.desired())
