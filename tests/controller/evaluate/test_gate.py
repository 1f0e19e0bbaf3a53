"""Conditions: what is one, what it means, and what a person reads when it does not hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.evaluate.gate import OPERATORS, judge, parse_condition


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("accuracy >= 0.8", ("accuracy", ">=", None, None, 0.8)),
        ("accuracy>=.8", ("accuracy", ">=", None, None, 0.8)),
        ("  held_out_loss  <  2 ", ("held_out_loss", "<", None, None, 2.0)),
        ("a1 > -1.5e-3", ("a1", ">", None, None, -0.0015)),
        ("a == 1.", ("a", "==", None, None, 1.0)),
        ("a >= base.a", ("a", ">=", "base", "a", 0.0)),
        ("a <= production.b - 0.5", ("a", "<=", "production", "b", -0.5)),
        ("a < base.a+1e-2", ("a", "<", "base", "a", 0.01)),
    ],
)
def test_conditions_are_parsed(text: str, expected: tuple):
    found = parse_condition(text)
    assert (found.metric, found.operator, found.model, found.other, found.offset) == expected


@pytest.mark.parametrize(
    "text",
    [
        "accuracy",
        "accuracy >= ",
        "accuracy => 0.8",
        "accuracy >= 80%",
        "accuracy != 1",
        "0.8 <= accuracy",
        "Accuracy >= 1",
        "a >= base",
        "a >= base.a * 2",
        "a >= base.a + base.b",
        "a >= nan",
        "a >= 1 and b >= 2",
        "__import__('os')",
    ],
)
def test_what_is_no_condition_is_refused_with_the_form(text: str):
    with pytest.raises(ValueError, match="METRIC >= NUMBER"):
        parse_condition(text)


@pytest.mark.parametrize(
    "text", ["a" * 1_001, " " * 200_000 + "x", f"a > {'b' * 900}.c", f"{'a' * 400} = {'1' * 400}"]
)
def test_a_long_condition_is_not_repeated_whole(text: str):
    with pytest.raises(ValueError, match=r"condition|compares with") as caught:
        parse_condition(text)
    assert len(str(caught.value)) < 250


def test_only_base_and_production_can_be_compared_with():
    with pytest.raises(ValueError, match="only base and production"):
        parse_condition("a >= staging.a")


SCORES = {
    "candidate": {"accuracy": 0.8, "held_out_loss": 1.5},
    "base": {"accuracy": 0.5, "held_out_loss": 2.0},
}


@pytest.mark.parametrize(
    ("condition", "failure"),
    [
        ("accuracy >= 0.8", ""),
        ("accuracy > 0.8", "accuracy > 0.8: accuracy is 0.8"),
        ("accuracy == 0.8", ""),
        ("accuracy < base.accuracy", "accuracy < base.accuracy: accuracy is 0.8 (base.accuracy is 0.5)"),
        ("accuracy >= base.accuracy + 0.2", ""),
        ("held_out_loss < base.held_out_loss - 0.5", "held_out_loss < base.held_out_loss - 0.5: held_out_loss is 1.5 (base.held_out_loss is 2)"),
        ("held_out_loss <= base.held_out_loss - 0.5", ""),
        ("chrf >= 1", "chrf >= 1: chrf was not measured"),
        ("accuracy >= base.chrf", "accuracy >= base.chrf: base.chrf was not measured"),
        ("accuracy >= production.accuracy", ""),
    ],
)  # fmt: skip
def test_scores_are_judged(condition: str, failure: str):
    judged = judge([condition], SCORES)
    assert judged.failures == ((failure,) if failure else ())
    assert judged.passed == (not failure)


def test_production_counts_once_there_is_one():
    scores = {**SCORES, "production": {"accuracy": 0.9}}
    assert not judge(["accuracy >= production.accuracy"], scores).passed


def test_no_gate_passes_and_no_scores_fail():
    assert judge([], {}).passed
    assert not judge(["accuracy >= 0"], {}).passed


def test_every_condition_that_fails_is_named():
    judged = judge(["accuracy > 0.9", "accuracy > 0", "held_out_loss < 1"], SCORES)
    assert len(judged.failures) == 2


numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(numbers, numbers, st.sampled_from(sorted(OPERATORS)))
def test_a_written_number_is_that_number(score: float, limit: float, sign: str):
    judged = judge([f"m {sign} {limit!r}"], {"candidate": {"m": score}})
    assert judged.passed == OPERATORS[sign](score, limit)


@given(st.text("abm_.<>=+- 01e", max_size=20))
def test_any_text_is_a_condition_or_refused(text: str):
    try:
        parse_condition(text)
    except ValueError:
        return
    judge([text], SCORES)
