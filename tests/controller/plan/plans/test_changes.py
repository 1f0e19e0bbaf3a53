"""Changed inputs, evaluations and gates, and going back to an earlier build."""

from dataclasses import replace

import pytest

from backends.contract.jobs import JobState
from controller.plan.actions import (
    Blocked,
    BlockReason,
    Deferred,
    Evaluate,
    Judge,
    Record,
    Reuse,
    Train,
)
from controller.plan.desired import DataChange
from controller.plan.fingerprint import short_id
from tests.controller.plan.planning import CANCELLED, FAILED, SUCCEEDED, plan, step


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
    assert action.reason == "held-out examples changed"


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
