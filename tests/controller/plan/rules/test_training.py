"""Rules for inputs without a recorded build, one table each."""

from dataclasses import replace

import pytest

from backends.contract.jobs import Estimate, JobState
from controller.errors import Problem
from controller.plan.rules import training

FAILED, SUCCEEDED, CANCELLED = JobState.FAILED, JobState.SUCCEEDED, JobState.CANCELLED
RULES = (
    training.stop_after_failure,
    training.stop_without_answer,
    training.adopt,
    training.keep_to_budget,
    training.train,
)


@pytest.mark.parametrize("rule", RULES)
def test_a_recorded_build_is_no_business_of_theirs(make, state, rule):
    desired = make.desired(budget={"max_usd": 0})
    entry = make.entry(make.build(desired), failures={desired.fingerprint: make.failure()})
    made = state(
        desired,
        entry,
        found=[make.job(desired)],
        unreachable={"scripted": Problem(message="503")},
    )
    assert rule(made) is None


@pytest.mark.parametrize(
    ("failed", "attempt", "expected"),
    [
        (None, 1, None),
        (1, 1, "Blocked: job job-1 failed: CUDA out of memory"),
        (2, 1, "Blocked: job job-1 failed: CUDA out of memory"),
        (1, 2, None),
    ],
)
def test_stop_after_failure(make, state, shown, failed, attempt, expected):
    key = make.desired().fingerprint
    failures = {} if failed is None else {key: make.failure(failed)}
    entry = make.entry(failures=failures, attempts={key: attempt})
    assert shown(training.stop_after_failure(state(entry=entry))) == expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [("scripted", "Blocked: scripted gave no answer: 503"), ("openai", None)],
)
def test_stop_without_answer(state, shown, place, expected):
    made = state(unreachable={place: Problem(message="503", remedy="Try later.")})
    assert shown(training.stop_without_answer(made)) == expected


@pytest.mark.parametrize(
    ("jobs", "attempt", "adopted"),
    [
        ([], 1, None),
        ([(JobState.RUNNING, 1)], 1, 0),
        ([(CANCELLED, 1)], 1, None),
        ([(FAILED, 1)], 1, 0),
        ([(FAILED, 1)], 2, None),
        ([(FAILED, 1), (SUCCEEDED, 2), (FAILED, 3)], 1, 1),
        ([(FAILED, 1), (FAILED, 2)], 1, 1),
        ([(SUCCEEDED, 1), (JobState.RUNNING, 2)], 1, 0),
        ([(SUCCEEDED, 1)], 2, 0),
    ],
)
def test_adopt(make, state, jobs, attempt, adopted):
    desired = make.desired()
    found = [
        make.job(desired, job_state, id=f"job-{number}", attempt=made_by)
        for number, (job_state, made_by) in enumerate(jobs)
    ]
    entry = make.entry(attempts={desired.fingerprint: attempt})
    action = training.adopt(state(desired, entry, found=found))
    assert (action and action.job.id) == (None if adopted is None else f"job-{adopted}")


HOURS = Estimate(gpu_hours=(0.5, 1.5))


@pytest.mark.parametrize(
    ("budget", "estimate", "expected"),
    [
        ({}, Estimate(), None),
        ({"max_usd": 2.25}, Estimate(usd=(1, 2.25)), None),
        (
            {"max_usd": 2.2},
            Estimate(usd=(1, 2.25)),
            "up to $2.25 exceed budget.max_usd: 2.2",
        ),
        (
            {"max_usd": 2},
            Estimate(),
            "budget.max_usd: 2 cannot be kept: what the job costs is unknown",
        ),
        ({"max_gpu_hours": 2}, HOURS, None),
        ({"max_gpu_hours": 2}, Estimate(), None),
        (
            {"max_gpu_hours": 1},
            HOURS,
            "up to 1.5 GPU hours exceed budget.max_gpu_hours: 1",
        ),
        ({"max_gpu_hours": 0}, Estimate(), "budget.max_gpu_hours: 0 allows no training"),
        (
            {"max_usd": 1, "max_gpu_hours": 0},
            replace(HOURS, usd=(0.5, 2)),
            "up to $2.00 exceed budget.max_usd: 1",
        ),
        # Prices times tokens are a little off; what is a little more is shown as more.
        ({"max_usd": 3.3}, Estimate(usd=(3, 3 * 1.1)), None),
        ({"max_usd": 2}, Estimate(usd=(1, 2.001)), "up to $2.01 exceed budget.max_usd: 2"),
        ({"max_usd": 0}, Estimate(usd=(0, 0)), None),
        (
            {"max_usd": 0},
            Estimate(usd=(0, 1e-7)),
            "up to less than $0.0001 exceed budget.max_usd: 0",
        ),
        (
            {"max_usd": 1234567.89},
            Estimate(usd=(0, 1234567.9)),
            "up to $1,234,567.90 exceed budget.max_usd: 1234567.89",
        ),
        (
            {"max_usd": 1234567.89},
            Estimate(),
            "budget.max_usd: 1234567.89 cannot be kept: what the job costs is unknown",
        ),
        (
            {"max_gpu_hours": 100},
            Estimate(gpu_hours=(50, 123)),
            "up to 123 GPU hours exceed budget.max_gpu_hours: 100",
        ),
        (
            {"max_gpu_hours": 10},
            Estimate(gpu_hours=(5, 10.04)),
            "up to 10.04 GPU hours exceed budget.max_gpu_hours: 10",
        ),
        ({"max_gpu_hours": 0.3}, Estimate(gpu_hours=(0, 0.1 + 0.2)), None),
    ],
)
def test_keep_to_budget(make, state, budget, estimate, expected):
    action = training.keep_to_budget(state(replace(make.desired(budget=budget), estimate=estimate)))
    assert (action and action.reason) == expected


@pytest.mark.parametrize(
    ("recorded", "found", "attempt", "reason"),
    [
        ([], [], 1, "no build is recorded"),
        ([], [(CANCELLED, 1)], 2, "no build is recorded; attempt 2"),
        ([7], [], 1, "seed changed"),
        ([7], [(FAILED, 1), (CANCELLED, 2)], 3, "seed changed; attempt 3"),
    ],
)
def test_train(make, state, recorded, found, attempt, reason):
    desired = make.desired()
    builds = [make.build(make.desired(seed=seed)) for seed in recorded]
    jobs = [make.job(desired, job_state, attempt=made_by) for job_state, made_by in found]
    action = training.train(state(desired, make.entry(*builds), found=jobs))
    assert (action.reason, action.attempt, action.retrain) == (reason, attempt, bool(recorded))


@pytest.mark.parametrize(
    ("spec", "measures_loss", "unavailable", "warnings"),
    [
        ({}, True, False, []),
        ({"gate": ["stop_rate > 0.5"]}, False, True, ["`base` is left out of the comparison"]),
        (
            {"gate": ["stop_rate > base.stop_rate"]},
            True,
            True,
            ["`base` is left out", "cannot hold: stop_rate > base.stop_rate"],
        ),
        ({"budget": {"max_gpu_hours": 2}}, True, False, ["it stops after 2 GPU hours"]),
        ({}, False, False, ["scripted measures no held-out loss: whatever is trained goes"]),
        (
            {"evaluation": {"compare_to": []}},
            True,
            False,
            ["`base` is not in evaluation.compare_to: whatever"],
        ),
        ({}, True, True, ["`base` is left out", "its base model cannot be asked: whatever"]),
    ],
)
def test_train_warns(make, state, spec, *, measures_loss: bool, unavailable: bool, warnings):
    desired = replace(make.desired(**spec), measures_loss=measures_loss)
    bases = {("scripted", "acme/base"): "scripted cannot be asked for acme/base"}
    made = state(desired, unavailable_bases=bases if unavailable else {})
    given = training.train(made).warnings
    assert len(given) == len(warnings)
    assert all(part in text for part, text in zip(warnings, given, strict=True))
