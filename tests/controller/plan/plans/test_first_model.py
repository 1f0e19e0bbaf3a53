"""The way of a fine-tune to its first model, and what stops it."""

from dataclasses import replace

import pytest

from backends.contract.jobs import Estimate, JobState, Memory, TrainedPart
from controller.plan.actions import (
    Adopt,
    Blocked,
    BlockReason,
    Evaluate,
    Promote,
    Record,
    Resume,
    Reuse,
    Train,
    Wait,
)
from controller.plan.fingerprint import short_id
from tests.controller.plan.planning import (
    CANCELLED,
    FAILED,
    INTERRUPTED,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    plan,
    step,
)


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


GB = 2**30


def test_what_cannot_fit_is_refused_with_what_would(make):
    memory = Memory(
        needs=31 * GB,
        has=24 * GB,
        problem="training needs 31.0 GB, and GPU 0 has 24.0 GB",
        remedy="Write `finetuning_type: lora` in `hyperparameters`.",
    )
    action = step(replace(make.desired(), memory=memory))
    assert isinstance(action, Blocked)
    assert (action.block_reason, action.reason) == (BlockReason.MEMORY, memory.problem)
    assert (action.remedy, action.block_reason.exit_code) == (memory.remedy, 1)
    # A model that exists needs no memory.
    built = make.build(make.desired())
    assert not isinstance(step(replace(make.desired(), memory=memory), make.entry(built)), Blocked)


@pytest.mark.parametrize(
    ("memory", "text"),
    [
        (
            Memory(
                needs=int(14.1 * GB),
                has=24 * GB,
                parts={"weights": 8 * GB, "adapter": 100, "activations": 6 * GB},
                remark="8 x 1,024 tokens, gradient checkpointing",
            ),
            (
                "needs 14.1 of 24.0 GB (weights 8.0, activations 6.0), 8 x 1,024 tokens, "
                "gradient checkpointing"
            ),
        ),
        (Memory(needs=GB // 50, parts={"weights": GB // 50}), "needs 0.02 GB"),
    ],
)
def test_what_a_job_needs_is_shown(make, memory, text):
    action = step(replace(make.desired(), memory=memory))
    assert ("memory", text) in list(action.rows())
    assert action.json()["memory"]["needs"] == memory.needs
    assert "memory" not in step(make.desired()).json()


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (
            TrainedPart(parameters=1_200_000, of=135_000_000, adapter_bytes=4_800_000),
            "1.2 M of 135 M parameters (0.89 %), adapter 4.8 MB",
        ),
        (TrainedPart(parameters=135_000_000, of=135_000_000), "all 135 M parameters"),
        (TrainedPart(parameters=900, of=1_000), "900 of 1 k parameters (90 %)"),
    ],
)
def test_a_plan_says_how_much_is_trained_and_warns(make, part, text):
    warned = replace(part, warnings=("the router is trained too",))
    action = step(replace(make.desired(), memory=Memory(needs=GB, trains=warned)))
    assert ("trains", text) in list(action.rows())
    assert action.json()["memory"]["trains"]["parameters"] == part.parameters
    assert "the router is trained too" in action.warnings


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
