"""The planner, as a table: every situation, what is done about it, and why."""

import itertools
from dataclasses import replace

import pytest

from backends.contract.jobs import Estimate, JobState, Progress
from controller.errors import Problem
from controller.lockfile.model import Entry, Lockfile
from controller.plan.actions import (
    Adopt,
    Blocked,
    BlockReason,
    Deferred,
    Evaluate,
    Judge,
    Promote,
    Protect,
    Record,
    Restore,
    Resume,
    Retire,
    Reuse,
    Train,
    Wait,
)
from controller.plan.desired import DataChange
from controller.plan.fingerprint import short_id
from controller.plan.observed import Lost, Observed
from controller.plan.plan import make_plan

FAILED, SUCCEEDED, CANCELLED = JobState.FAILED, JobState.SUCCEEDED, JobState.CANCELLED
RUNNING, QUEUED, INTERRUPTED = JobState.RUNNING, JobState.QUEUED, JobState.INTERRUPTED


def plan(desired, entry=None, *, jobs=(), found=(), others=None, unresolved=None, **answers):
    finetunes = dict(others or {})
    if entry is not None:
        finetunes["faq"] = entry
    by_fingerprint = {}
    for job in found:
        by_fingerprint.setdefault(job.fingerprint, []).append(job)
    observed = Observed(
        jobs={job.id: job for job in jobs},
        found={key: tuple(made) for key, made in by_fingerprint.items()},
        **answers,
    )
    declared = {one.name: one for one in (desired if isinstance(desired, list) else [desired])}
    recorded = Lockfile(finetunes=finetunes)
    return make_plan(declared, recorded, observed, unresolved=unresolved or {})


def step(*arguments, **settings):
    return plan(*arguments, **settings).of("faq")


# --- towards a first model --------------------------------------------------------------------


def test_what_was_never_trained_is_trained(make):
    desired = make.desired()
    action = step(desired)
    assert isinstance(action, Train)
    assert action.reason == "no build is recorded"
    assert (action.fingerprint, action.attempt, action.retrain, action.cancels) == (
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
    assert action.block_reason is BlockReason.DRIFT
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
    assert action.block_reason is BlockReason.GATE
    assert "held_out_loss < 1: held_out_loss is 1.25" in action.reason
    assert "Nothing is in production" in action.remedy


def test_production_stays_while_a_new_build_fails(make):
    old = make.build(make.desired())
    desired = make.desired(seed=7, gate=["held_out_loss < 1"])
    new = make.build(desired)
    action = step(desired, make.entry(old, new, production=old, candidate=new.fingerprint))
    assert isinstance(action, Blocked)
    assert f"{short_id(old.fingerprint)} stays in production".capitalize() in action.remedy


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


def test_a_job_for_inputs_nobody_wants_is_cancelled_and_its_sunk_cost_said(make):
    old, new = make.desired(), make.desired(seed=7)
    entry = make.entry(job=make.open_job(old, estimate_usd=(40.0, 80.0)))
    action = step(new, entry, jobs=[make.job(old)])
    assert isinstance(action, Train)
    assert (action.cancels.job, action.cancels.usd) == ("job-1", (40.0, 80.0))


def test_a_job_that_another_fine_tune_wants_is_not_cancelled(make):
    shared, new = make.desired(), make.desired(seed=7)
    entry = make.entry(job=make.open_job(shared))
    other = make.desired("other")
    [action, _] = plan([new, other], entry, jobs=[make.job(shared)], found=[]).actions
    assert isinstance(action, Train)
    assert action.cancels is None


def test_a_job_that_an_unreadable_spec_may_want_is_not_cancelled(make):
    shared, new = make.desired(), make.desired(seed=7)
    entry = make.entry(job=make.open_job(shared))
    unread = Deferred(name="other", reason="no network", remedy="")
    made = plan(
        new, entry, jobs=[make.job(shared)], others={"other": entry}, unresolved={"other": unread}
    )
    assert made.of("faq").cancels is None


@pytest.mark.parametrize("state", [SUCCEEDED, FAILED, CANCELLED])
def test_a_finished_job_is_recorded_and_what_a_person_decides_next_is_in_the_same_plan(
    make, state: JobState
):
    old, new = make.desired(), make.desired(seed=7)
    entry = make.entry(job=make.open_job(old))
    made = plan(new, entry, jobs=[make.job(old, state)])
    assert [type(action) for action in made.actions] == [Record, Train]
    assert made.actions[1].cancels is None


@pytest.mark.parametrize("state", [SUCCEEDED, FAILED])
def test_what_needs_no_approval_waits_for_the_record(make, state: JobState):
    desired = make.desired()
    made = plan(desired, make.entry(job=make.open_job(desired)), jobs=[make.job(desired, state)])
    assert [type(action) for action in made.actions] == [Record]


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
    action = step(desired, make.entry(build, production=build))
    assert isinstance(action, Blocked)
    assert action.block_reason is BlockReason.GATE
    assert "in production, did not pass the gate: held_out_loss < 1" in action.reason
    assert f"{short_id(build.fingerprint)} stays in production".capitalize() in action.remedy
    assert action.block_reason.exit_code == 0


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
    assert (action.cancels.job, action.promote) == ("job-1", True)


def test_going_back_to_production_forgets_a_candidate(make):
    old, new = make.build(make.desired()), make.build(make.desired(seed=7))
    entry = make.entry(old, new, production=old, candidate=new.fingerprint)
    action = step(make.desired(), entry)
    assert isinstance(action, Reuse)
    assert action.promote


def test_another_fine_tune_with_equal_inputs_shares_its_build(make):
    build = make.build(make.desired("other"))
    both = [make.desired(), make.desired("other")]
    action = step(both, others={"other": make.entry(build, production=build)})
    assert isinstance(action, Reuse)
    assert action.keeps_scores
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
    assert action.block_reason is BlockReason.FAILURE
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
        # A limit that cannot be kept is no limit.
        ({"max_usd": 0}, Estimate(usd=None), True),
        ({"max_gpu_hours": 1}, Estimate(gpu_hours=(0.5, 1.5)), True),
        ({"max_gpu_hours": 2}, Estimate(gpu_hours=(0.5, 1.5)), False),
        # The job stops by itself, and a first one tells how long the next takes.
        ({"max_gpu_hours": 2}, Estimate(gpu_hours=None), False),
        ({"max_gpu_hours": 0}, Estimate(gpu_hours=None), True),
    ],
)
def test_a_budget_is_kept_by_the_high_end(make, budget, estimate, *, blocked: bool):
    desired = replace(make.desired(budget=budget), estimate=estimate)
    action = step(desired)
    assert isinstance(action, Blocked if blocked else Train)
    if blocked:
        assert action.block_reason is BlockReason.BUDGET
        assert f"budget.{next(iter(budget))}" in action.reason


def test_few_hours_are_not_rounded_to_none(make):
    desired = make.desired(budget={"max_gpu_hours": 0.001})
    action = step(replace(desired, estimate=Estimate(gpu_hours=(0.001, 0.0024))))
    assert action.reason == "up to 0.0024 GPU hours exceed budget.max_gpu_hours: 0.001"


def test_where_hours_are_not_known_the_plan_says_when_the_job_stops(make):
    action = step(make.desired(budget={"max_gpu_hours": 0.5}))
    assert isinstance(action, Train)
    assert "how long the job takes is not known yet: it stops after 0.5 GPU hours" in (
        action.warnings
    )


def test_a_budget_never_stops_what_is_free(make):
    old, new = make.build(make.desired()), make.build(make.desired(seed=7))
    back = make.desired(budget={"max_usd": 0})
    assert isinstance(step(back, make.entry(old, new, production=new)), Reuse)
    assert isinstance(step(back, found=[make.job(back)]), Adopt)


def test_a_suspended_fine_tune_is_held_and_what_it_waits_for_is_said(make):
    desired = make.desired(lifecycle={"suspend": True})
    action = step(desired)
    assert isinstance(action, Blocked)
    assert action.block_reason is BlockReason.SUSPENDED
    assert action.reason == "lifecycle.suspend is set; without it: no build is recorded"
    assert action.block_reason.exit_code == 0
    entry = make.entry(job=make.open_job(desired))
    assert isinstance(step(desired, entry, jobs=[make.job(desired, SUCCEEDED)]), Record)
    assert "job job-1 is running" in step(desired, entry, jobs=[make.job(desired)]).reason


def test_a_suspended_fine_tune_as_declared_is_named(make):
    build = make.build(make.desired())
    made = plan(make.desired(lifecycle={"suspend": True}), make.entry(build, production=build))
    assert (made.actions, made.suspended) == ((), ("faq",))


# --- pins and protection ----------------------------------------------------------------------


def test_a_pinned_build_goes_to_production_whatever_its_scores(make):
    old, new = make.build(make.desired()), make.build(make.desired(seed=7))
    pinned = make.desired(
        seed=7, gate=["held_out_loss < 0"], lifecycle={"pin": short_id(old.fingerprint)}
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
    assert action.block_reason is BlockReason.LIFECYCLE
    assert short_id(old.fingerprint) in action.remedy


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
        lifecycle={"pin": short_id(old.fingerprint)},
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
    keep = make.desired("keep", seed=1)
    action = step([keep], make.entry(build, production=build))
    assert isinstance(action, Retire)
    assert action.replaces == build.fingerprint
    assert action.reason == "finetunes/faq.yaml was removed; its models are kept"


def test_a_protected_fine_tune_is_never_retired(make):
    build = make.build(make.desired())
    keep = make.desired("keep", seed=1)
    action = step([keep], make.entry(build, production=build, protect=True))
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


# --- each fine-tune by itself -----------------------------------------------------------------


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


# --- names that change, entries that were lost ------------------------------------------------


@pytest.mark.parametrize("new", ["a", "z"])
@pytest.mark.parametrize("state", ["build", "job", "pin"])
def test_a_renamed_fine_tune_keeps_everything_whatever_its_name(make, new: str, state: str):
    desired, old = make.desired(new), make.build(make.desired(seed=7))
    build = make.build(desired)
    entry = make.entry(old, build, production=old, protect=True)
    if state == "job":
        entry = make.entry(old, production=old, job=make.open_job(desired))
    elif state == "pin":
        desired = make.desired(new, seed=9, lifecycle={"pin": short_id(old.fingerprint)})
    made = plan(desired, entry, jobs=[make.job(desired)] if state == "job" else [])
    action = made.actions[0]
    assert isinstance(action, Restore)
    assert {one.name for one in made.actions} == {new}
    assert (action.name, action.source, action.entry) == (new, "faq", entry)
    assert action.reason == f"finetunes/faq.yaml was renamed to {new}.yaml"


def test_a_copy_is_no_new_name(make):
    build = make.build(make.desired())
    both = [make.desired(), make.desired("copy")]
    made = plan(both, make.entry(build, production=build))
    [action] = made.actions
    assert isinstance(action, Reuse)
    assert (action.name, action.source) == ("copy", "faq")


def test_a_lost_entry_is_restored_before_anything_else(make):
    desired, old = make.desired(), make.build(make.desired(seed=7))
    lost = {"faq": Lost(entry=make.entry(old, production=old), source="commit 1f24dc2")}
    action = step(desired, found=[make.job(desired)], lost=lost)
    assert isinstance(action, Restore)
    assert action.reason == "the lockfile has no entry for it; commit 1f24dc2 knows 1 build"
    assert step(desired, make.entry(old, production=old), lost=lost).name == "faq"
    assert isinstance(step(desired, make.entry(old, production=old), lost=lost), Train)


# --- protection, approval ---------------------------------------------------------------------


def test_protection_is_changed_while_a_candidate_is_blocked(make):
    desired = make.desired(gate=["held_out_loss < 1"], lifecycle={"protect": True})
    build = make.build(desired)
    entry = make.entry(build, candidate=build.fingerprint)
    action = step(desired, entry)
    assert isinstance(action, Protect)
    assert "otherwise blocked: build" in action.reason
    running = make.entry(job=make.open_job(desired))
    assert isinstance(step(desired, running, jobs=[make.job(desired)]), Protect)


def test_what_switches_production_by_an_edit_needs_approval(make):
    strict = make.build(make.desired(gate=["held_out_loss < 1"]))
    looser = make.desired(gate=["held_out_loss < 2"])
    candidate = make.entry(strict, candidate=strict.fingerprint)
    assert step(looser, candidate).needs_approval
    stricter = make.desired(gate=["held_out_loss < 0.5"])
    assert not step(stricter, candidate).needs_approval
    assert not step(looser, make.entry(strict, production=strict)).needs_approval
    measured = make.desired(evaluation={"metrics": ["accuracy"]})
    build = make.build(make.desired())
    assert step(measured, make.entry(build, candidate=build.fingerprint)).needs_approval
    assert not step(measured, make.entry(build, production=build)).needs_approval
    paid = replace(measured, paid=True)
    assert step(paid, make.entry(build, production=build)).needs_approval
    raw = make.build(make.desired(), evaluated=False)
    candidate = make.entry(raw, candidate=raw.fingerprint)
    assert step(paid, candidate).needs_approval  # on which terms it was approved is not known
    assert step(paid, candidate, found=[make.job(make.desired())]).needs_approval
    assert not step(make.desired(), candidate, found=[make.job(make.desired())]).needs_approval


def test_a_base_model_that_cannot_be_asked_is_left_out_with_a_warning(make):
    desired = make.desired(gate=["held_out_loss < base.held_out_loss", "stop_rate > 0.5"])
    silent = {(desired.spec.place, "acme/base"): "scripted cannot be asked for acme/base"}
    warnings = step(desired, unavailable_bases=silent).warnings
    assert "scripted cannot be asked for acme/base; `base` is left out" in warnings[0]
    assert "cannot hold: held_out_loss < base.held_out_loss" in warnings[1]
    left_out = make.desired(evaluation={"compare_to": []}, gate=["stop_rate > 0.5"])
    assert step(left_out, unavailable_bases=silent).warnings == ()
    raw = make.build(desired, evaluated=False)
    action = step(desired, make.entry(raw, candidate=raw.fingerprint), unavailable_bases=silent)
    assert action.without_base == "scripted cannot be asked for acme/base"
