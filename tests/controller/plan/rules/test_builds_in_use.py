"""What an action on a build says it replaces, and builds and scores that come from elsewhere."""

from dataclasses import replace

import pytest

from backends.contract.deployments import Hosting
from controller.lockfile.early import EarlyBuild
from controller.plan.actions import Deploy, Evaluate, Judge, Promote, Reuse
from controller.plan.rules import builds

PASSES, FAILS = ["held_out_loss < 2"], ["held_out_loss < 1"]
HOURLY = {"scripted": Hosting(usd_per_hour=1.7)}


def beside_production(make, desired, build, **changes):
    """Return the wanted build beside the one that is in production."""
    live = make.build(make.desired(seed=7))
    entry = make.entry(live, build, production=live, candidate=build.fingerprint)
    return {"desired": desired, "entry": entry.model_copy(update=changes)}


@pytest.mark.parametrize(
    ("rule", "kind", "evaluated", "gate"),
    [
        (builds.evaluate, Evaluate, False, []),
        (builds.judge_again, Judge, True, PASSES),
        (builds.promote, Promote, True, []),
        (builds.deploy, Deploy, True, []),
    ],
)
def test_an_action_names_the_build_in_production_that_it_replaces(
    make, state, rule, kind, *, evaluated: bool, gate
):
    hosting = HOURLY if kind is Deploy else {}
    build = make.build(make.desired(), evaluated=evaluated)
    given = beside_production(make, make.desired(gate=gate), build)
    action = rule(state(**given, hosting=hosting))
    assert isinstance(action, kind)
    assert action.replaces == given["entry"].production
    assert action.effects()["replaces"] == given["entry"].production
    assert rule(state(make.desired(gate=gate), make.entry(build), hosting=hosting)).replaces is None


@pytest.mark.parametrize("rule", ["own", "shared", "early"])
def test_a_return_to_a_build_names_what_it_replaces_and_cancels(make, state, rule):
    desired, live = make.desired(), make.build(make.desired(seed=7))
    build, job = make.build(desired), make.open_job(make.desired(seed=8))
    own = [build] if rule == "own" else []
    entry = make.entry(live, *own, production=live, job=job)
    others = {"other": make.entry(build)} if rule == "shared" else {}
    early = EarlyBuild(pull=12, name="faq", build=build)
    seen = state(
        desired, entry, others=others, early={build.fingerprint: early} if rule == "early" else {}
    )
    action = getattr(builds, f"reuse_{rule}")(seen)
    assert isinstance(action, Reuse)
    assert action.replaces == live.fingerprint
    assert action.cancels.job == job.id


def early_state(make, state, build, *, pull=12, name="faq", recorded=(), **spec):
    early = {build.fingerprint: EarlyBuild(pull=pull, name=name, build=build)}
    return state(make.desired(**spec), make.entry(*recorded), early=early)


def test_a_build_of_a_pull_request_is_taken_over_with_its_number(make, state):
    build = make.build(make.desired())
    action = builds.reuse_early(early_state(make, state, build))
    assert action.reason == ("already trained before the merge, for pull request 12, on 2026-11-20")
    assert action.early.pull == 12
    assert action.early.build is build
    assert (action.source, action.promote, action.keeps_scores) == ("faq", True, True)
    assert action.style.verb == "already trained"
    assert builds.reuse_early(early_state(make, state, build, recorded=[build])) is None
    assert builds.reuse_early(early_state(make, state, make.build(make.desired(seed=7)))) is None


@pytest.mark.parametrize(
    ("spec", "evaluated", "expected"),
    [
        ({"gate": PASSES}, True, (True, True)),
        ({"gate": FAILS}, True, (True, False)),
        ({"evaluation": {"max_tokens": 8}}, True, (False, False)),
        ({}, False, (False, False)),
    ],
)
@pytest.mark.parametrize("rule", ["shared", "early"])
def test_scores_from_elsewhere_hold_if_this_spec_would_measure_the_same(
    make, state, rule, spec, *, evaluated: bool, expected
):
    build = make.build(make.desired(), evaluated=evaluated)
    if rule == "early":
        action = builds.reuse_early(early_state(make, state, build, **spec))
    else:
        seen = state(make.desired(**spec), make.entry(), others={"other": make.entry(build)})
        action = builds.reuse_shared(seen)
    assert (action.keeps_scores, action.promote) == expected


@pytest.mark.parametrize(
    ("production", "keeps"), [(None, True), ("this", True), ("another", False)]
)
def test_scores_beside_another_production_do_not_hold_here(make, state, production, keeps):
    live = make.build(make.desired(seed=7))
    beside = {"this": live.fingerprint, "another": "ft1:0"}.get(production)
    build = make.build(make.desired())
    measured = build.evaluation.model_copy(update={"production_build": beside})
    build = build.model_copy(update={"evaluation": measured})
    entry = make.entry(live, production=live)
    action = builds.reuse_shared(state(entry=entry, others={"other": make.entry(build)}))
    assert action.keeps_scores is keeps
    assert action.promote is keeps
    assert action.reason == "these inputs were trained before for other, on 2026-11-20"


def test_an_adopted_model_that_nobody_measures_is_not_judged_again(make, state):
    adopted = make.build(make.desired(), evaluated=False, facts={"adopted": {}})
    entry = make.entry(adopted, production=adopted)
    assert builds.judge_again(state(entry=entry)) is None
    asked = builds.judge_again(state(make.desired(gate=PASSES), entry))
    assert isinstance(asked, Judge)


def test_what_cannot_be_measured_is_promoted_for_that_reason(make, state):
    bare = make.desired(data={"train": [{"path": "data/a.jsonl"}], "held_out": []})
    build = make.build(bare, evaluated=False)
    action = builds.promote(state(bare, make.entry(build, candidate=build.fingerprint)))
    assert action.reason == "nothing measures it: there are no held-out examples"
    measured = make.build(make.desired())
    for gate, reason in (([], "no gate is declared"), (PASSES, "the gate passed")):
        entry = make.entry(measured, candidate=measured.fingerprint)
        assert builds.promote(state(make.desired(gate=gate), entry)).reason == reason


def test_a_deployment_that_costs_nothing_needs_nobody(make, state):
    build = make.build(make.desired())
    entry = make.entry(build, production=build)
    for usd, asks in ((0, False), (0.01, True), (None, True)):
        seen = state(entry=entry, hosting={"scripted": Hosting(usd_per_hour=usd)})
        action = builds.deploy(seen)
        assert action.needs_approval is asks
        assert action.hosting.usd_per_hour == usd
        assert action.deployment == "named after the model"
    unmeasured = make.build(make.desired(), evaluated=False)
    seen = state(entry=make.entry(unmeasured), hosting=HOURLY)
    assert isinstance(builds.deploy(seen), Deploy)
    failed = state(make.desired(gate=FAILS), make.entry(build), hosting=HOURLY)
    assert builds.deploy(failed) is None
    assert builds.deploy(state(replace(make.desired(), paid=True), hosting=HOURLY)) is None
