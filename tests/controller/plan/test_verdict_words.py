"""What is told of a verdict, and when a recorded one still stands."""

import pytest

from controller.evaluate.gate import MARGIN, PREFERENCE_RULE, RULE
from controller.lockfile.model import Verdict
from controller.plan.verdicts import (
    current_verdict,
    is_unguarded,
    remedy_of,
    standing_verdict,
    verdict_of,
    why_not,
)

LIVE = "ft1:" + "ab" * 32


def verdict(**changes):
    return Verdict(passed=False, gate=[], **changes)


@pytest.mark.parametrize(
    ("failures", "production", "text"),
    [
        (["f1 >= 0.8: f1 is 0.7"], None, "Nothing is in production. Change the spec, its data, or"),
        (["f1 >= 0.8: f1 is 0.7"], LIVE, "abababababab stays in production. Change the spec, its"),
        ([], LIVE, "abababababab stays in production. Hold out more examples, or ask to be less"),
        ([], None, "Nothing is in production. Hold out more examples, or ask to be less sure."),
    ],
)
def test_the_remedy_says_what_stays_and_what_to_do(failures, production, text):
    undecided = [] if failures else ["f1 > 0.8 @ 95%: cannot tell"]
    assert remedy_of(verdict(failures=failures, undecided=undecided), production).startswith(text)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (f"{RULE}: held_out_loss is 3", True),
        (f"{PREFERENCE_RULE}: the margin is 0", True),
        ("f1 >= 0.8: f1 is 0.7", False),
        (f"f1 >= 0.8: not {RULE}", False),
    ],
)
def test_an_empty_gate_is_proposed_only_where_the_rule_failed(failure, told):
    remedy = remedy_of(verdict(failures=["a > 1: a is 0", failure]), None)
    assert remedy.endswith("write `gate: []`.") == told


def test_failures_come_before_what_cannot_be_told():
    both = verdict(failures=["a > 1: a is 0", "b > 1: b is 0"], undecided=["c > 1 @ 95%"])
    assert why_not(both) == "a > 1: a is 0; b > 1: b is 0; c > 1 @ 95%"


def test_a_recorded_verdict_stands_until_the_gate_is_another_one(make):
    desired = make.desired(gate=["held_out_loss < 2"])
    build = make.build(desired)
    assert standing_verdict(build, desired.spec) is build.verdict
    stricter = make.desired(gate=["held_out_loss < 1"])
    assert standing_verdict(build, stricter.spec) is None
    assert not current_verdict(build, stricter.spec).passed
    twice = make.desired(gate=["held_out_loss < 2", "held_out_loss < 3"])
    assert standing_verdict(build, twice.spec) is None
    bare = build.model_copy(update={"verdict": None})
    assert standing_verdict(bare, desired.spec) is None
    assert current_verdict(bare, desired.spec).passed
    # What was decided stands, whatever the scores would say today.
    failed = build.verdict.model_copy(update={"passed": False, "failures": ["x"]})
    assert not current_verdict(build.model_copy(update={"verdict": failed}), desired.spec).passed


@pytest.mark.parametrize(
    ("loss", "written", "allowed"),
    [(1.0, {}, False), (9.9, {}, False), (1.0, {"gate": []}, False), (9.9, {"gate": []}, True)],
)
def test_a_worse_model_is_marked_only_where_it_passed_for_that_reason(make, loss, written, allowed):
    desired = make.desired(**written)
    found = verdict_of(desired.spec, make.evaluation(desired, loss=loss))
    assert found.allowed_worse is allowed
    assert found.passed is (loss < 2.5 or allowed)


def test_what_the_examples_cannot_tell_is_kept_with_the_verdict(make):
    desired = make.desired(gate=["stop_rate > 0.5 @ 95%"])
    found = verdict_of(desired.spec, make.evaluation(desired))
    assert not found.passed
    assert found.undecided or found.failures
    assert verdict_of(desired.spec, None).failures


@pytest.mark.parametrize(
    ("written", "scores", "unguarded"),
    [
        ({}, {}, True),
        ({}, {"base": {"stop_rate": 1.0}}, True),
        ({}, {"base": {"held_out_loss": 2.5}}, False),
        ({}, {"base": {MARGIN: 0.0}}, False),
        ({}, {"candidate": {"held_out_loss": 2.5}}, True),
        ({"gate": ["stop_rate > 0"]}, {}, False),
        ({"gate": []}, {}, False),
    ],
)
def test_a_build_is_unguarded_if_nothing_was_compared_and_nobody_said_so(
    make, written, scores, unguarded
):
    assert is_unguarded(make.spec(**written), scores) is unguarded
