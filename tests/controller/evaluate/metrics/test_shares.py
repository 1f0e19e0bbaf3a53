"""Metrics that call an answer right or wrong: cases counted by hand."""

from dataclasses import replace

import pytest

from backends.contract.completions import Completion
from controller.evaluate.answers import Answer, Call
from controller.evaluate.metric import RIGHT, WRONG, AnsweredExample, Metric
from controller.evaluate.metrics import accuracy, exact_match, metric_called, regex_match, stop_rate
from controller.evaluate.metrics.exact_match import ExactMatch
from controller.evaluate.metrics.regex_match import RegexMatch
from controller.spec.evaluation import Evaluation
from controller.spec.metrics import ChosenMetric


def metrics_of(*written) -> list[ChosenMetric]:
    return Evaluation.model_validate({"metrics": list(written)}).metrics


def example(expected: str = "", given: str = "", **changes) -> AnsweredExample:
    completion = Completion(text=given, finish_reason="stop")
    made = AnsweredExample(
        expected=Answer(text=expected), given=Answer(text=given), completion=completion
    )
    return replace(made, **changes)


def values(metric: Metric, settings, examples) -> list[float | None]:
    return [metric.value(one) for one in metric.tally(settings, examples)]


@pytest.mark.parametrize(
    ("labels", "expected", "given_text", "is_right"),
    [
        (None, "환불", "환불", True),
        (None, "환불", " 환불\n", True),
        (None, "환불", "환불.", False),
        (None, "환불", "반품", False),
        (None, "Refund", "REFUND", True),
        (None, "Straße", "STRASSE", True),
        (None, "", " ", True),
        (["환불", "교환"], "환불", "환불", True),
        (["교환"], "환불", "환불", False),
        (["refund"], " Refund ", "refund", True),
    ],
)
def test_a_label_is_compared_without_case_and_blanks(labels, expected, given_text, is_right):
    (chosen,) = metrics_of({"accuracy": {"labels": labels}} if labels else "accuracy")
    prepared = chosen.prepared([Answer(text=expected)])
    assert values(accuracy.METRIC, prepared.settings, [example(expected, given_text)]) == [is_right]


@pytest.mark.parametrize(
    ("reason", "has_ended"),
    [
        ("stop", True),
        ("tool_calls", True),
        ("length", False),
        ("content_filter", False),
        ("", False),
    ],
)
def test_an_answer_that_was_cut_off_has_not_ended(reason, has_ended):
    one = example(completion=Completion(text="네", finish_reason=reason))
    assert values(stop_rate.METRIC, stop_rate.StopRate(), [one]) == [has_ended]


@pytest.mark.parametrize(
    ("pattern", "text", "is_found"),
    [
        ("^네.*요[.]$", "네, 있어요.", True),
        ("^네.*요[.]$", "없어요.", False),
        ("b", "abc", True),
        ("^b", "abc", False),
        ("가{2}", "가가", True),
        ("(?i)refund", "REFUND", True),
        (r"\d+원", "총 4500원입니다", True),
        ("둘째$", "첫째\n둘째", True),
        ("^둘째", "첫째\n둘째", False),
    ],
)
def test_a_pattern_is_searched_in_the_whole_answer(pattern, text, is_found):
    found = values(regex_match.METRIC, RegexMatch(pattern=pattern), [example("", text)])
    assert found == [is_found]


CALL = (Call(name="book", arguments="{}"),)


@pytest.mark.parametrize(
    ("expected", "given_calls", "is_right"), [((), (), True), ((), CALL, True), (CALL, (), False)]
)
def test_a_pattern_says_nothing_where_an_expected_call_is_missing(expected, given_calls, is_right):
    one = replace(
        example(),
        expected=Answer(text="", calls=expected),
        given=Answer(text="b", calls=given_calls),
    )
    assert values(regex_match.METRIC, RegexMatch(pattern="b"), [one]) == [is_right]


def test_a_share_without_values_is_unknown():
    assert exact_match.METRIC.score([]) is None
    assert exact_match.METRIC.score([None, None]) is None
    assert exact_match.METRIC.score([RIGHT, WRONG, None, WRONG, WRONG]) == 0.25


@pytest.mark.parametrize(
    ("ignored", "expected", "given_text", "is_right"),
    [
        ([], "예약 취소", "예약취소", False),
        (["blanks"], "예약 취소", "예약취소", True),
        (["blanks"], "예약 취소", "예약\n 취소", True),
        ([], "Refund", "refund", False),
        (["case"], "Straße", "STRASSE", True),
        (["case"], "환불", "환불.", False),
        (["punctuation"], "환불", "「환불」.", True),
        (["punctuation"], "1,000", "1000", True),
        (["punctuation"], "환불", "환불!", True),
        ([], "ABC 12", "\uff21\uff22\uff23　\uff11\uff12", False),
        (["width"], "ABC 12", "\uff21\uff22\uff23　\uff11\uff12", True),
        (["width"], "각", "\u1100\u1161\u11a8", True),
        (["width", "case", "punctuation", "blanks"], "A. 네", "\uff41네", True),
        (["width", "case", "punctuation", "blanks"], "네", "아니요", False),
    ],
)
def test_differences_are_ignored_that_a_spec_names(ignored, expected, given_text, is_right):
    found = values(
        exact_match.METRIC, ExactMatch(normalise=ignored), [example(expected, given_text)]
    )
    assert found == [is_right]


@pytest.mark.parametrize(
    ("written", "expected", "given_text", "is_right"),
    [
        ("contains", "환불", "네, 환불해 드릴게요.", True),
        ("contains", " 환불\n", "네, 환불해 드릴게요.", True),
        ("contains", "환불", "네.", False),
        ("contains", "Refund", "a refund", False),
        ({"contains": {"normalise": ["case"]}}, "Refund", "a refund", True),
        ({"contains": {"texts": ["감사", "환불"]}}, "", "감사합니다. 환불했어요.", True),
        ({"contains": {"texts": ["감사", "환불"]}}, "", "감사합니다.", False),
        ({"contains": {"texts": ["감사", "환불"], "match": "any"}}, "", "감사합니다.", True),
        ({"contains": {"texts": ["감사", "환불"], "match": "any"}}, "감사", "네", False),
    ],
)
def test_an_answer_contains_a_text(written, expected, given_text, is_right):
    (one,) = metrics_of(written)
    assert values(one.metric, one.settings, [example(expected, given_text)]) == [is_right]


@pytest.mark.parametrize(
    ("texts", "expected", "given_calls", "is_right"),
    [
        ([], CALL, CALL, True),
        ([], CALL, (*CALL, Call(name="more", arguments="{}")), True),
        ([], CALL, (Call(name="more", arguments="{}"),), False),
        ([], (*CALL, *CALL), CALL, False),
        ([], (), CALL, True),
        (["b"], CALL, (), False),
        (["b"], CALL, CALL, True),
    ],
)
def test_an_answer_contains_the_expected_calls(texts, expected, given_calls, is_right):
    one = replace(
        example(),
        expected=Answer(text="", calls=expected),
        given=Answer(text="b", calls=given_calls),
    )
    metric = metric_called("contains")
    assert values(metric, metric.settings(texts=texts), [one]) == [is_right]
