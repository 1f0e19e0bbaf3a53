"""No model worse than its base is promoted, unless its spec says `gate: []`."""

import pytest

from controller.evaluate.gate import RULE
from controller.evaluate.judgement import Evidence
from controller.evaluate.judgement import judge as judge_evidence
from controller.lockfile.model import Evaluation, Verdict
from controller.lockfile.store import Lockfile
from controller.plan.actions import Blocked, Judge, Promote, Reuse
from controller.plan.approval import decisions_of, terms_of
from controller.plan.observed import Observed
from controller.plan.plan import make_plan
from controller.plan.verdicts import is_unguarded, standing_verdict, verdict_of

RUINED = 19.9


def judge(gate, scores):
    return judge_evidence(gate, Evidence(scores=scores))


def evaluation_of(scores) -> Evaluation:
    return Evaluation(fingerprint="ev1:x", inputs={}, scores=scores, evaluated="")


SCORES = {"candidate": {"held_out_loss": RUINED}, "base": {"held_out_loss": 6.5}}
FAILED = f"{RULE}: held_out_loss is 19.9 (base.held_out_loss is 6.5)"


def step(desired, entry):
    recorded = Lockfile(finetunes={desired.name: entry})
    plan = make_plan({desired.name: desired}, recorded, Observed())
    return plan.of(desired.name)


def test_a_model_worse_than_its_base_is_not_promoted(make):
    desired = make.desired()
    build = make.build(desired, loss=RUINED)
    action = step(desired, make.entry(build, candidate=build.fingerprint))
    assert isinstance(action, Blocked)
    assert f"{RULE}: held_out_loss is 19.9 (base.held_out_loss is 2.5)" in action.reason
    assert "write `gate: []`" in action.remedy


@pytest.mark.parametrize("method", ["supervised", "continued-pretraining", "dpo"])
@pytest.mark.parametrize("gate", [None, ["held_out_loss > 0"]])
def test_the_rule_is_part_of_every_gate(make, gate, method: str):
    written = {} if gate is None else {"gate": gate}
    assert verdict_of(make.spec(method=method, **written), evaluation_of(SCORES)).failures == [
        FAILED
    ]


def test_an_empty_gate_that_is_written_out_allows_it(make):
    desired = make.desired(gate=[])
    verdict = verdict_of(desired.spec, evaluation_of(SCORES))
    assert (verdict.passed, verdict.allowed_worse) == (True, True)
    build = make.build(desired, loss=RUINED, verdict=verdict)
    assert isinstance(step(desired, make.entry(build, candidate=build.fingerprint)), Promote)


def test_the_rule_is_left_out_where_a_loss_is_not_known(make):
    for known in ("candidate", "base"):
        scores = {"candidate": {}, "base": {}} | {known: {"held_out_loss": 3.0}}
        assert judge([], scores).passed
    assert is_unguarded(make.spec(), {"candidate": {"held_out_loss": 3.0}})
    assert not is_unguarded(make.spec(), SCORES)
    assert not is_unguarded(make.spec(gate=[]), {})


def test_as_good_as_the_base_is_not_worse():
    even = {"candidate": {"held_out_loss": 6.5}, "base": {"held_out_loss": 6.5}}
    assert judge([], even).passed


def test_a_condition_that_says_the_same_is_reported_once():
    assert judge([RULE], SCORES).failures == (FAILED,)


def test_writing_an_empty_gate_judges_a_blocked_candidate_again(make):
    absent, written = make.desired(), make.desired(gate=[])
    build = make.build(absent, loss=RUINED)
    action = step(written, make.entry(build, candidate=build.fingerprint))
    assert isinstance(action, Judge)
    assert action.needs_approval


def test_removing_an_empty_gate_judges_again(make):
    build = make.build(make.desired(gate=[]), loss=RUINED)
    allowed = build.model_copy(
        update={"verdict": Verdict(passed=True, gate=[], allowed_worse=True)}
    )
    action = step(make.desired(), make.entry(allowed, candidate=build.fingerprint))
    assert isinstance(action, Judge)
    assert not action.needs_approval


def test_recorded_verdicts_stand(make):
    """Before the rule was made, a worse model passed: an upgrade takes nothing out of production."""
    desired = make.desired()
    passed = Verdict(passed=True, gate=[])
    build = make.build(desired, loss=RUINED, verdict=passed)
    assert standing_verdict(build, desired.spec) == passed
    assert step(desired, make.entry(build, production=build)) is None
    # Nor does it keep one from going back.
    other = make.build(make.desired(seed=7))
    action = step(desired, make.entry(build, other, production=other))
    assert isinstance(action, Reuse)
    assert action.promote
    # With `gate: []` written out, nothing is to be judged either.
    assert step(make.desired(gate=[]), make.entry(build, production=build)) is None


def test_only_a_written_empty_gate_is_part_of_the_terms(make):
    absent, written = make.desired(), make.desired(gate=[])
    assert absent.fingerprint == written.fingerprint
    key = absent.evaluation_fingerprint
    assert key == written.evaluation_fingerprint
    assert terms_of(absent.spec, key) == (
        "469d58d3edfeecc3b86b59a3952ec214f59333e6e8ab4387e6475bb4fb4fd1a0"
    )
    assert terms_of(written.spec, key) != terms_of(absent.spec, key)
    assert decisions_of(written) != decisions_of(absent)


def test_the_plan_says_where_nothing_guards_production(make):
    def warnings(**changes):
        desired = make.desired(**changes)
        return " ".join(make_plan({"faq": desired}, Lockfile(), Observed()).of("faq").warnings)

    said = "whatever is trained goes into production"
    assert said in warnings(evaluation={"compare_to": []})
    assert said not in warnings()
    assert said not in warnings(evaluation={"compare_to": []}, gate=[])
    assert said not in warnings(evaluation={"compare_to": []}, gate=["stop_rate > 0"])
