"""A gate: conditions, their meaning, and the sentence for one that does not hold."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.pydantic_errors import InvalidValue
from controller.evaluate.gate import (
    GRAMMAR,
    RULE,
    Slice,
    gate_columns,
    parse_condition,
    slices_of,
)
from controller.evaluate.judgement import Evidence
from controller.evaluate.judgement import judge as judge_evidence
from controller.spec.conditions import COMPARISONS


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


FORM = (
    "Write METRIC >= NUMBER, or METRIC >= base.METRIC + NUMBER (operators: >= <= > < ==), and "
    "`@ 95%` behind it for a condition that must hold for sure."
)
LIMIT = "expected a number or MODEL.METRIC, such as base.METRIC, at character"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", " has no operator"),
        ("accuracy", " has no operator"),
        ("accuracy is good", " has no operator"),
        ("accuracy in [1]", " has no operator"),
        ("__import__('os')", " has no operator"),
        ("정확도 >= 0.8", ": expected a metric at character 1, found '정확도'"),
        ("Accuracy >= 1", ": expected a metric at character 1, found 'Accuracy'"),
        ("0.8 <= accuracy", ": expected a metric at character 1, found '0.8'"),
        ("f1 macro > 1", ": expected a metric at character 1, found 'f1 macro'"),
        ("base.a >= 1", ": expected a metric at character 1, found 'base.a'"),
        ("accuracy => 0.8", ": expected a metric at character 1, found 'accuracy ='"),
        ("accuracy != 1", ": expected one of >= <= > < == at character 10, found '!='"),
        ("accuracy >=", f": {LIMIT} 12, found nothing"),
        ("accuracy >= 80%", f": {LIMIT} 13, found '80%'"),
        ("accuracy >= 팔십", f": {LIMIT} 13, found '팔십'"),
        ("a >= +1", f": {LIMIT} 6, found '+1'"),
        ("a >= - 1", f": {LIMIT} 6, found '- 1'"),
        ("a >= 1e", f": {LIMIT} 6, found '1e'"),
        ("a >= nan", f": {LIMIT} 6, found 'nan'"),
        ("a >= 1_000", f": {LIMIT} 6, found '1_000'"),
        ("a >= base", f": {LIMIT} 6, found 'base'"),
        ("a >= base.", f": {LIMIT} 6, found 'base.'"),
        ("a >= base.a * 2", f": {LIMIT} 6, found 'base.a * 2'"),
        ("a >= base.a + base.b", f": {LIMIT} 6, found 'base.a + base.b'"),
        ("a >= base.a + -1", f": {LIMIT} 6, found 'base.a + -1'"),
        ("a >= retain.json", f": {LIMIT} 6, found 'retain.json'"),
        ("a >= 1 @", f": {LIMIT} 6, found '1 @'"),
        ("a >= 1 @ 95", f": {LIMIT} 6, found '1 @ 95'"),
        ("a >= 1 @ 100%", ": expected a level from 50 to 99.5 at character 10, found '100'"),
        ("a >= 1 @ 5%", ": expected a level from 50 to 99.5 at character 10, found '5'"),
        ("a == 1 @ 95%", ": expected one of >= <= > < before a level at character 3, found '=='"),
        ("a[lang] >= 1", ": expected a metric at character 1, found 'a[lang]'"),
        ("a[lang=] >= 1", ": expected a metric at character 1, found 'a[lang=]'"),
        ("a[=ko] >= 1", ": expected a metric at character 1, found 'a[=ko]'"),
        ("a[lang=ko >= 1", ": expected a metric at character 1, found 'a[lang=ko'"),
        ("a >= base.a[lang]", f": {LIMIT} 6, found 'base.a[lang]'"),
        ("a >= 1 ms", f": {LIMIT} 6, found '1 ms'"),
        ("a >= 1h", f": {LIMIT} 6, found '1h'"),
        ("a >= candidate.a", f": {LIMIT} 6, found 'candidate.a'"),
        ("a >= 1 and b >= 2", f": {LIMIT} 6, found '1 and b >= 2'"),
        ("a >== 1", f": {LIMIT} 5, found '= 1'"),
    ],
)
def test_an_error_points_at_the_part_that_is_wrong(text: str, problem: str):
    for blanks in ("", "  "):
        with pytest.raises(InvalidValue) as caught:
            parse_condition(f"{blanks}{text}{blanks}")
        assert str(caught.value) == f"{text!r}{problem}"
        assert caught.value.remedy == FORM


@pytest.mark.parametrize(
    "text", ["a" * 1_001, " " * 200_000 + "x", f"a > {'b' * 900}.c", f"{'a' * 400} = {'1' * 400}"]
)
def test_a_long_condition_is_not_repeated_whole(text: str):
    with pytest.raises(InvalidValue) as caught:
        parse_condition(text)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("text", "metric", "model", "other", "offset", "level"),
    [
        ("a[lang=ko] >= 0.9", "a[lang=ko]", None, None, 0.9, None),
        ("a[ label = '환불, 교환' ] >= .9 @95 %", "a[label=환불, 교환]", None, None, 0.9, 95.0),
        ("a['x y'=\"a]b>=c\"] > 1", "a[x y=a]b>=c]", None, None, 1.0, None),
        ("f1 > luna.f1[lang=ko] - 0.01 @ 99.5%", "f1", "luna", "f1[lang=ko]", -0.01, 99.5),
        ("retain.json >= base.retain.json - 5e-2", "retain.json", "base", "retain.json", -0.05, None),
        ("latency_p95 <= 800ms", "latency_p95", None, None, 0.8, None),
        ("latency_p95 <= base.latency_p95 + 1.5s", "latency_p95", "base", "latency_p95", 1.5, None),
    ],
)  # fmt: skip
def test_slices_models_times_and_levels_are_parsed(text, metric, model, other, offset, level):
    found = parse_condition(text)
    assert (found.metric, found.model, found.other, found.level) == (metric, model, other, level)
    assert found.offset == pytest.approx(offset)


def test_slices_name_their_columns():
    gate = [parse_condition("a[lang=ko] > base.a[label=환불] @ 90%"), parse_condition("b > 1")]
    assert slices_of(gate) == {
        "a[lang=ko]": Slice(column="lang", value="ko"),
        "a[label=환불]": Slice(column="label", value="환불"),
    }
    assert gate_columns([one.text for one in gate]) == {"lang", "label"}
    assert gate_columns(["no condition", "a > 1"]) == frozenset()


@pytest.mark.parametrize(
    ("column", "value", "found", "belongs"),
    [
        ("lang", "ko", "ko", True),
        ("lang", "ko", "KO", False),
        ("lang", "ko", " ko", False),
        ("lang", "ko", None, False),
        ("label", "환불", " 환불\n", True),
        ("label", " Refund", "REFUND", True),
        ("label", "Straße", "strasse", True),
        ("label", "환불", "교환", False),
        ("label", "None", None, False),
    ],
)
def test_values_are_compared_exactly_and_labels_as_metrics_compare_them(
    column, value, found, belongs
):
    assert Slice(column=column, value=value).has(found) is belongs


def test_the_longest_condition_is_parsed():
    assert parse_condition(f"{'a' * 996} > 1").metric == "a" * 996


def judge(gate, scores, **settings):
    return judge_evidence(gate, Evidence(scores=scores), **settings)


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


LOSSES = {"candidate": {"held_out_loss": 2.5}, "base": {"held_out_loss": 2.0}}


@pytest.mark.parametrize(
    ("gate", "allows_worse", "failures"),
    [
        ([], False, 1),
        ([], True, 0),
        (["held_out_loss < 9"], False, 1),
        (["held_out_loss < 9"], True, 0),
        # Written out, the rule is judged once.
        ([RULE], False, 1),
        ([RULE], True, 1),
    ],
)
def test_a_candidate_with_a_higher_loss_than_its_base_fails(gate, allows_worse, failures):
    judged = judge(gate, LOSSES, allows_worse=allows_worse)
    assert len(judged.failures) == failures
    if failures:
        assert judged.failures[-1] == f"{RULE}: held_out_loss is 2.5 (base.held_out_loss is 2)"


@pytest.mark.parametrize("unknown", ["candidate", "base"])
def test_the_rule_needs_both_losses(unknown: str):
    assert judge([], {**LOSSES, unknown: {"stop_rate": 1.0}}).passed
    assert judge([], {role: found for role, found in LOSSES.items() if role != unknown}).passed


def test_an_equal_loss_is_not_worse():
    equal = {"held_out_loss": 2.0}
    assert judge([], {"candidate": equal, "base": equal}).passed


numbers = st.floats(-1e6, 1e6, allow_nan=False)
signs = st.sampled_from(GRAMMAR.operators)


@given(numbers, numbers, signs)
def test_a_written_number_is_that_number(score: float, limit: float, sign: str):
    judged = judge([f"m {sign} {limit!r}"], {"candidate": {"m": score}})
    assert judged.passed == COMPARISONS[sign](score, limit)


@given(numbers, numbers, signs, st.sampled_from(["base", "production"]), st.floats(-9, 9))
def test_a_margin_is_added_to_the_other_models_score(score, other, sign, model, margin):
    text = f"m {sign} {model}.n {'-' if margin < 0 else '+'} {abs(margin)!r}"
    judged = judge([text], {"candidate": {"m": score}, model: {"n": other}})
    limit = float(Fraction(repr(margin)) + Fraction(repr(other)))
    assert judged.passed == COMPARISONS[sign](score, limit)


@pytest.mark.parametrize(
    ("condition", "passes"),
    [
        ("m < 1e999", True),
        ("m >= base.n - 1e999", True),
        ("m >= base.n + 1e-320", False),
        ("m >= base.n - 1e-320", True),
        (f"m >= base.n - 0.{'0' * 300}1", True),
    ],
)
def test_a_limit_beyond_every_number_is_a_limit_too(condition, passes):
    assert judge([condition], {"candidate": {"m": 0.0}, "base": {"n": 0}}).passed is passes


@given(
    st.sampled_from(["", " ", "\n", "\t  "]),
    st.sampled_from(["1", "-.5", "base.a - 2.5e-3"]),
    signs,
)
def test_blanks_change_nothing(blanks: str, limit: str, sign: str):
    spaced = parse_condition(f"{blanks}accuracy{blanks}{sign}{blanks}{limit}{blanks}")
    plain = parse_condition(f"accuracy {sign} {limit}")
    assert replace(spaced, text="") == replace(plain, text="")


@given(st.text("abm_.<>=+- 01e", max_size=20))
def test_any_text_is_a_condition_or_refused(text: str):
    try:
        condition = parse_condition(text)
    except InvalidValue:
        return
    assert parse_condition(condition.text) == condition
    for failure in judge([text], SCORES).failures:
        assert failure.startswith(f"{condition.text}: ")
