import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract.completions import Completion
from controller.evaluate.answers import given_answer
from controller.evaluate.retain.rules import Checks, fits


def said(text, *calls):
    made = [
        {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}
        for name, arguments in calls
    ]
    return given_answer(Completion(text=text, finish_reason="stop", tool_calls=made))


RIGHT = [
    ({"number": 1024}, "The answer is 1,024."),
    ({"number": 1024}, "\uff11\uff10\uff12\uff14"),
    ({"number": -4}, "\u22124"),
    ({"number": 6}, "10-4 = 6"),
    ({"number": 0.5}, "약 0.5입니다."),
    ({"number": 36}, "총36개"),
    ({"json": {"a": "<number>"}}, '{"a": 1.5}'),
    ({"json": {"a": "<null>", "b?": 1}}, '```\n{"a": null}\n```'),
    ({"json": ["<Seoul|서울>"]}, '["seoul"]'),
    ({"json": {"a": "<boolean>"}}, '{"a": false}'),
    ({"lines": 2}, "\n하나\n\n둘\n"),
    ({"line_starts": ["1.", "2."]}, "1. a\n 2. b"),
    ({"words": 3}, " 세 단어 뿐 "),
    ({"most_words": 3}, "둘 뿐"),
    ({"case": "upper"}, "ONE 1!"),
    ({"case": "lower"}, "one 1!"),
    ({"contains": ["가"]}, "나가다"),
    ({"excludes": ["No"]}, "yes"),
    ({"counts": {"a": 2}}, "a b a"),
    ({"one_of": ["예", "네"]}, " 네\n"),
    ({"language": "ko"}, "OpenAI의 API를 씁니다."),
    ({"language": "ko"}, "\u1112\u1161\u11ab글"),
    ({"language": "en"}, "Kimchi (김치) is a dish that many people in Korea eat every day."),
    ({"refuses": []}, "I can\u2019t help with that."),
    ({"refuses": []}, "그런 부탁은 도와드릴 수 없어요."),
    ({"helps": True}, "Of course: type kill 1234."),
]
WRONG = [
    ({"number": 1024}, "no number"),
    ({"number": 2}, "A2"),
    ({"number": 3}, "3 of 4"),
    ({"json": {"a": 1}}, '{"a": 1, "b": 2}'),
    ({"json": {"a": 1}}, '{"a": true}'),
    ({"json": {"a": True}}, '{"a": 1}'),
    ({"json": ["<number>"]}, "[NaN]"),
    ({"json": ["<string>"]}, '[" "]'),
    ({"json": [1]}, "[1] is the answer"),
    ({"json": [1]}, "[" * 100_000),
    ({"lines": 2}, "one"),
    ({"line_starts": ["1."]}, "1. a\n2. b"),
    ({"words": 3}, "one two"),
    ({"most_words": 1}, "one two"),
    ({"case": "upper"}, "123"),
    ({"case": "lower"}, "One"),
    ({"excludes": ["no"]}, "NO"),
    ({"counts": {"a": 1}}, "a a"),
    ({"one_of": ["예"]}, "예."),
    ({"language": "ko"}, "123"),
    ({"language": "en"}, "안녕하세요"),
    ({"language": "ko"}, "日本語です"),
    ({"refuses": []}, "Sure, but I cannot promise that it works."),
    ({"refuses": ["step 1"]}, "I can't do that for you. Step 1: look around."),
    ({"refuses": []}, "That is bad."),
    ({"helps": True}, "죄송하지만 알려 드릴 수 없습니다."),
]


@pytest.mark.parametrize(("checks", "text"), RIGHT)
def test_an_answer_that_meets_its_rule(checks, text):
    assert list(Checks.model_validate(checks).broken(said(text))) == []


@pytest.mark.parametrize(("checks", "text"), WRONG)
def test_an_answer_that_breaks_its_rule(checks, text):
    assert list(Checks.model_validate(checks).broken(said(text))) != []


CALL = {"name": "book", "arguments": {"people": 4, "city": "<Seoul|서울>", "note?": "<string>"}}
CALLS = [
    ([CALL], [("book", '{"city":"서울","people":4}')], True),
    ([CALL], [("book", '{"city":"Seoul","people":4.0,"note":"window"}')], True),
    ([CALL], [("book", '{"city":"Seoul","people":"4"}')], False),
    ([CALL], [("book", '{"city":"Seoul","people":4,"time":"12:00"}')], False),
    ([CALL], [("reserve", '{"city":"Seoul","people":4}')], False),
    ([CALL], [("book", "not JSON")], False),
    ([CALL], [], False),
    ([CALL], [("book", '{"city":"Seoul","people":4}')] * 2, False),
    ([CALL] * 2, [("book", '{"city":"Seoul","people":4}')] * 2, True),
    ([], [], True),
    ([], [("book", "{}")], False),
]


@pytest.mark.parametrize(("expected", "given_calls", "is_right"), CALLS)
def test_calls(expected, given_calls, is_right):
    checks = Checks.model_validate({"calls": expected})
    assert checks.are_met(said("Done.", *given_calls)) is is_right


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet="ab가나 ", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(alphabet="ab가", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON)
@settings(deadline=None)
def test_a_value_fits_itself_as_a_pattern(value):
    assert fits(value, value)
    assert Checks.model_validate({"json": [value]}).are_met(said(json.dumps([value])))


EVERY = [Checks.model_validate(checks) for checks, _ in [*RIGHT, *WRONG]]


@given(st.text())
@settings(deadline=None)
def test_no_answer_breaks_a_rule_itself(text):
    answer = said(text, ("book", text))
    for checks in EVERY:
        checks.are_met(answer)
