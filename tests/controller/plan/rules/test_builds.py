"""Rules for a recorded build of the wanted inputs, one table each."""

from dataclasses import dataclass, replace

import pytest

from backends.contract.deployments import Deployment, DeploymentState, Hosting
from backends.contract.jobs import JobState
from controller.plan.fingerprint import short_id
from controller.plan.rules import builds

FAILS, PASSES = ["held_out_loss < 1"], ["held_out_loss < 2"]
CANDIDATE, PRODUCTION = "candidate", "production"


def with_build(make, role: str, *, evaluated=True, built=None, desired=None, **spec):
    """Return a state whose wanted build has a role: candidate, production, or neither."""
    declared = desired or make.desired(**spec)
    build = make.build(built or declared, evaluated=evaluated)
    entry = make.entry(
        build,
        production=build if role == PRODUCTION else None,
        candidate=build.fingerprint if role == CANDIDATE else None,
    )
    return {"desired": declared, "entry": entry}


def also(given, **changes):
    """Return a state whose entry has something more."""
    return {**given, "entry": given["entry"].model_copy(update=changes)}


BEFORE = "Reuse: these inputs were trained before, on 2026-11-20"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (lambda _: {}, None),
        (lambda make: with_build(make, ""), BEFORE),
        (lambda make: with_build(make, CANDIDATE), None),
        (lambda make: with_build(make, PRODUCTION), None),
        (
            lambda make: also(
                with_build(make, PRODUCTION), candidate=make.desired(seed=7).fingerprint
            ),
            BEFORE,
        ),
        (
            lambda make: also(with_build(make, CANDIDATE), job=make.open_job(make.desired(seed=7))),
            BEFORE,
        ),
        (
            lambda make: with_build(
                make,
                CANDIDATE,
                built=make.desired(),
                lifecycle={"pin": short_id(make.desired().fingerprint)},
            ),
            BEFORE,
        ),
    ],
)
def test_reuse_own(make, state, shown, given, expected):
    assert shown(builds.reuse_own(state(**given(make)))) == expected


@pytest.mark.parametrize(
    ("gate", "role", "pinned", "promote"),
    [
        ([], "", False, True),
        (PASSES, "", False, True),
        (FAILS, "", False, False),
        (FAILS, "", True, True),
        (FAILS, PRODUCTION, False, True),
    ],
)
def test_reuse_promotes_what_passes_or_what_a_person_chose(
    make, state, gate, role, *, pinned: bool, promote: bool
):
    lifecycle = {"pin": short_id(make.desired().fingerprint)} if pinned else {}
    given = with_build(make, role, built=make.desired(), gate=gate, lifecycle=lifecycle)
    given = also(given, job=make.open_job(make.desired(seed=7)))
    assert builds.reuse_own(state(**given)).promote is promote


@pytest.mark.parametrize(
    ("given", "expected", "needs_approval"),
    [
        (lambda _: {}, None, None),
        (lambda make: with_build(make, CANDIDATE), None, None),
        (
            lambda make: with_build(make, CANDIDATE, evaluated=False),
            "Evaluate: it was not evaluated yet",
            True,
        ),
        (
            lambda make: {
                **with_build(make, CANDIDATE, evaluated=False),
                "found": [make.job(make.desired(), JobState.SUCCEEDED)],
            },
            "Evaluate: it was not evaluated yet",
            False,
        ),
        (
            lambda make: with_build(
                make, CANDIDATE, built=make.desired(), evaluation={"max_tokens": 8}
            ),
            "Evaluate: max_tokens changed",
            True,
        ),
        (
            lambda make: with_build(
                make, PRODUCTION, built=make.desired(), evaluation={"max_tokens": 8}
            ),
            "Evaluate: max_tokens changed",
            False,
        ),
        (
            lambda make: with_build(
                make,
                PRODUCTION,
                built=make.desired(),
                desired=replace(make.desired(evaluation={"compare_to": []}), paid=True),
            ),
            "Evaluate: compare_to changed",
            True,
        ),
    ],
)
def test_evaluate(make, state, shown, given, expected, needs_approval):
    action = builds.evaluate(state(**given(make)))
    assert shown(action) == expected
    assert action is None or action.needs_approval is needs_approval


@pytest.mark.parametrize(
    ("given", "needs_approval"),
    [
        (lambda _: {}, None),
        (lambda make: with_build(make, CANDIDATE, gate=FAILS), None),
        (lambda make: with_build(make, CANDIDATE, built=make.desired(), gate=PASSES), True),
        (lambda make: with_build(make, CANDIDATE, built=make.desired(), gate=FAILS), False),
        (lambda make: with_build(make, PRODUCTION, built=make.desired(), gate=PASSES), False),
    ],
)
def test_judge_again(make, state, shown, given, needs_approval):
    action = builds.judge_again(state(**given(make)))
    assert shown(action) == (None if needs_approval is None else "Judge: the gate was changed")
    assert action is None or action.needs_approval is needs_approval


@pytest.mark.parametrize(
    ("given", "expected", "needs_approval"),
    [
        (lambda _: {}, None, None),
        (lambda make: with_build(make, PRODUCTION, gate=PASSES), None, None),
        (lambda make: with_build(make, CANDIDATE, gate=FAILS), None, None),
        (
            lambda make: with_build(make, CANDIDATE, gate=PASSES),
            "Promote: the gate passed",
            True,
        ),
        (
            lambda make: {
                **with_build(make, CANDIDATE),
                "found": [make.job(make.desired(), JobState.SUCCEEDED)],
            },
            "Promote: no gate is declared",
            False,
        ),
    ],
)
def test_promote(make, state, shown, given, expected, needs_approval):
    action = builds.promote(state(**given(make)))
    assert shown(action) == expected
    assert action is None or action.needs_approval is needs_approval


@pytest.mark.parametrize(
    ("given", "start"),
    [
        (lambda _: {}, None),
        (lambda make: with_build(make, CANDIDATE, gate=PASSES), None),
        (
            lambda make: with_build(make, CANDIDATE, gate=FAILS),
            "Blocked: build {} did not pass the gate: held_out_loss < 1: held_out_loss is 1.25",
        ),
        (
            lambda make: with_build(make, PRODUCTION, gate=FAILS),
            "Blocked: build {}, in production, did not pass the gate: held_out_loss < 1",
        ),
        (
            lambda make: with_build(
                make,
                PRODUCTION,
                built=make.desired(),
                gate=FAILS,
                lifecycle={"pin": short_id(make.desired().fingerprint)},
            ),
            None,
        ),
    ],
)
def test_stop_at_gate(make, state, shown, given, start):
    made = state(**given(make))
    text = shown(builds.stop_at_gate(made))
    if start is None:
        assert text is None
    else:
        assert text.startswith(start.format(short_id(made.target)))


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        (False, False, None),
        (True, True, None),
        (False, True, "Reuse: these inputs were trained before for other, on 2026-11-20"),
    ],
)
def test_reuse_shared(make, state, shown, *, own: bool, other: bool, expected):
    build = make.build(make.desired())
    others = {"other": make.entry(build, production=build)} if other else {}
    entry = make.entry(build) if own else None
    assert shown(builds.reuse_shared(state(entry=entry, others=others))) == expected


@pytest.mark.parametrize(
    ("measured_against", "mine", "keeps"),
    [(None, None, True), (None, 7, True), (7, 7, True), (7, None, False), (7, 8, False)],
)
def test_scores_of_a_shared_build_hold_against_the_same_production(
    make, state, measured_against, mine, *, keeps: bool
):
    def known(seed):
        return None if seed is None else make.build(make.desired(seed=seed))

    build, own, other = make.build(make.desired()), known(mine), known(measured_against)
    evaluation = build.evaluation.model_copy(
        update={"production_build": other.fingerprint if other else None}
    )
    shared = build.model_copy(update={"evaluation": evaluation})
    entry = make.entry(own, production=own) if own else None
    action = builds.reuse_shared(state(entry=entry, others={"other": make.entry(shared)}))
    assert action.keeps_scores is keeps


MISSING, READY, STARTING, UNKNOWN, BROKEN = (
    DeploymentState.MISSING,
    DeploymentState.READY,
    DeploymentState.STARTING,
    DeploymentState.UNKNOWN,
    DeploymentState.FAILED,
)
NEEDED = "Deploy: it answers only after it is deployed"


RECORDS_IT = "Deploy: its deployment is there, and is not recorded"
GONE = "Deploy: its deployment d is gone"


@dataclass(frozen=True, kw_only=True)
class Case:
    role: str = CANDIDATE
    gate: tuple[str, ...] = ()
    usd: float | None = 1.7
    hosted: bool = True
    recorded: str | None = None
    announced: tuple[float | None, ...] = ()
    """Price that was approved with the job, if there was one."""


@pytest.mark.parametrize(
    ("case", "seen", "expected", "approval"),
    [
        (Case(hosted=False), None, None, None),
        (Case(), MISSING, NEEDED, True),
        (Case(), STARTING, NEEDED, True),
        (Case(), BROKEN, NEEDED, True),
        (Case(), UNKNOWN, NEEDED, True),
        (Case(), None, NEEDED, True),
        (Case(usd=None), MISSING, NEEDED, True),
        (Case(usd=0.0), MISSING, NEEDED, False),
        (Case(announced=(1.7,)), MISSING, NEEDED, False),
        (Case(announced=(1.5,)), MISSING, NEEDED, True),
        (Case(announced=(None,), usd=None), MISSING, NEEDED, False),
        (Case(), READY, RECORDS_IT, False),
        (Case(recorded="d"), READY, None, None),
        (Case(recorded="d"), UNKNOWN, None, None),
        (Case(recorded="d"), None, None, None),
        (Case(recorded="d"), MISSING, GONE, True),
        (Case(recorded="d", announced=(1.7,)), MISSING, GONE, True),
        (Case(recorded="d", role=PRODUCTION), MISSING, GONE, True),
        (Case(gate=("held_out_loss < 1",)), MISSING, None, None),
        (Case(gate=("held_out_loss < 1",), role=PRODUCTION), MISSING, NEEDED, True),
    ],
)
def test_deploy(make, state, case: Case, seen, expected, approval):
    declared = make.desired(gate=list(case.gate))
    known = {"name": case.recorded, "usd_per_hour": 1.7}
    build = make.build(declared, facts={"deployment": known} if case.recorded else {})
    entry = make.entry(
        build,
        production=build if case.role == PRODUCTION else None,
        candidate=build.fingerprint if case.role == CANDIDATE else None,
    )
    job = make.job(declared, JobState.SUCCEEDED, id=build.job)
    for usd in case.announced:
        job = replace(job, origin={**job.origin, "hosting": {"usd_per_hour": usd}})
    place = (build.backend, build.model_id)
    action = builds.deploy(
        state(
            declared,
            entry,
            found=[job],
            hosting={build.backend: Hosting(usd_per_hour=case.usd)} if case.hosted else {},
            deployments={} if seen is None else {place: Deployment(name="d", state=seen)},
        )
    )
    assert (action and f"{type(action).__name__}: {action.reason}") == expected
    assert (action and action.needs_approval) == approval


def test_a_deployment_that_a_person_named_is_left_alone(make, state):
    declared = make.desired()
    build = make.build(declared)
    written = Deployment(name="own", state=READY, is_written=True)
    found = state(
        declared,
        make.entry(build, candidate=build.fingerprint),
        hosting={build.backend: Hosting(usd_per_hour=None)},
        deployments={(build.backend, build.model_id): written},
    )
    assert builds.deploy(found) is None


def test_a_model_that_was_adopted_is_left_to_whoever_deployed_it(make, state):
    declared = make.desired()
    build = make.build(declared, facts={"adopted": {"from": "openai"}})
    found = state(
        declared,
        make.entry(build, production=build),
        hosting={build.backend: Hosting(usd_per_hour=1.7)},
    )
    assert builds.deploy(found) is None


def test_a_prompt_is_not_deployed(make, state):
    declared = make.desired()
    build = make.build(declared)
    build = build.model_copy(update={"inputs": {**build.inputs, "method": "prompt"}})
    found = state(
        declared,
        make.entry(build, candidate=build.fingerprint),
        hosting={build.backend: Hosting(usd_per_hour=1.7)},
    )
    assert builds.deploy(found) is None
