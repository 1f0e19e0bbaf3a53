"""Answers as they are scored: thinking apart, calls of tools as calls."""

import json

import pytest
from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st

from backends.contract.completions import Completion
from controller.evaluate.answers import (
    agree,
    expected_answer,
    given_answer,
    shown_calls,
    without_thinking,
)
from controller.evaluate.scoring import answered, chosen_metrics, scores_of, tally
from controller.spec.evaluation import Evaluation

METRICS = Evaluation.model_validate(
    {"metrics": ["exact_match", "accuracy", {"regex_match": {"pattern": ".*"}}]}
).metrics


def score(references, completions) -> dict[str, float]:
    chosen = chosen_metrics(METRICS, references)
    pairs = zip(references, completions, strict=True)
    return scores_of(chosen, tally(chosen, [answered(*pair) for pair in pairs]))


def call(name: str, arguments, number: int = 0):
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    function = {"name": name, "arguments": text}
    return {"id": f"call_{number}", "type": "function", "function": function}


BOOK = call("book", {"day": "월요일", "people": 2})


def reference(*calls, text=None):
    return {"role": "assistant", "content": text, "tool_calls": list(calls)}


def said(text: str = "", *calls, reason: str = "stop", thinking: str = "") -> Completion:
    return Completion(text=text, tool_calls=calls, finish_reason=reason, thinking=thinking)


def agrees(expected, given: Completion) -> bool:
    return agree(expected_answer(expected), given_answer(given))


@pytest.mark.parametrize(
    ("expected", "given", "right"),
    [
        (reference(BOOK), said("", call("book", {"people": 2, "day": "월요일"}, 7)), True),
        (reference(BOOK), said("", call("book", '{ "people": 2.0,"day":"월요일" }')), True),
        (reference(BOOK), said("예약할게요.", BOOK), True),
        (reference(BOOK, text="예약할게요."), said("예약할게요.\n", BOOK), True),
        (reference(BOOK, text="예약할게요."), said("", BOOK), False),
        (reference(BOOK), said(""), False),
        (reference(BOOK), said(json.dumps([BOOK], ensure_ascii=False)), False),
        (reference(BOOK), said("", call("book", {"day": "월요일", "people": "2"})), False),
        (reference(BOOK), said("", call("cancel", {"day": "월요일", "people": 2})), False),
        (reference(BOOK), said("", call("book", '{"day": "월요일", ')), False),
        (reference(BOOK), said("", BOOK, BOOK), False),
        (reference(call("on", {"lamp": True})), said("", call("on", {"lamp": 1})), False),
        # The calls of one answer are parallel.
        (reference(call("a", {}), call("b", {})), said("", call("b", {}), call("a", {})), True),
        (reference(call("a", {}), call("a", {})), said("", call("a", {})), False),
        # Three spellings of no arguments.
        (reference(call("now", "{}")), said("", call("now", "")), True),
        (reference(call("now", "{}")), said("", {"function": {"name": "now"}}), True),
        ({"role": "assistant", "content": "네"}, said("네", BOOK), False),
        ({"role": "assistant", "content": "네"}, said(" 네\n"), True),
        (
            {"role": "assistant", "content": None, "function_call": BOOK["function"]},
            said("", BOOK),
            True,
        ),
        (
            {"role": "assistant", "content": [{"type": "text", "text": "네"}, {"text": "."}]},
            said("네."),
            True,
        ),
        ({"role": "assistant", "content": None, "refusal": "안 돼요."}, said("안 돼요."), True),
    ],
)
def test_calls_are_compared_as_calls_and_never_as_text(expected, given, right):
    assert agrees(expected, given) is right
    assert score([expected], [given])["exact_match"] == float(right)


def test_silence_is_right_by_no_metric_where_a_call_is_expected():
    found = score([reference(BOOK)], [said("")])
    assert found == {"stop_rate": 1.0, "exact_match": 0.0, "accuracy": 0.0, "regex_match": 0.0}


def test_the_right_call_is_the_right_label():
    labels = [reference(BOOK), {"role": "assistant", "content": "환불"}]
    found = score(labels, [said("", BOOK, reason="tool_calls"), said("환불", BOOK)])
    assert found["accuracy"] == 0.5
    assert found["stop_rate"] == 1.0


@pytest.mark.parametrize(
    ("text", "thinking", "visible"),
    [
        ("<think>\n\n</think>\n\nPIN", "", "PIN"),
        ("\n<think>음, 카드.</think>PIN", "음, 카드.", "PIN"),
        ("<think>아직 생각 중", "아직 생각 중", ""),
        ("PIN <think>", "", "PIN <think>"),
        ("PIN", "", "PIN"),
    ],
)
def test_thinking_at_the_start_is_no_part_of_an_answer(text: str, thinking: str, visible: str):
    assert without_thinking(text) == (thinking, visible)
    expected = {"role": "assistant", "content": visible}
    assert agrees(expected, said(text))
    assert agrees({"role": "assistant", "content": text}, said(visible, thinking="anything"))


def test_thinking_in_fields_of_its_own_is_not_scored():
    expected = {"role": "assistant", "content": "PIN", "reasoning_content": "카드니까."}
    assert expected_answer(expected).thinking == "카드니까."
    assert agrees(expected, said("PIN"))
    assert agrees(expected, said("PIN", thinking="딴생각"))


def test_calls_are_shown_as_people_read_them():
    assert shown_calls([BOOK]) == 'book({"day": "월요일", "people": 2})'


RUN = {"id": "1", "type": "custom", "custom": {"name": "run", "input": '{"a":  1}'}}


def test_the_input_of_a_custom_tool_is_text_that_is_compared_as_json_where_it_is_json():
    spaced = {"type": "custom", "custom": {"name": "run", "input": '{"a":1}'}}
    other = {"type": "custom", "custom": {"name": "run", "input": "ls -l"}}
    assert agrees(reference(RUN), said("", spaced))
    assert not agrees(reference(RUN), said("", other))
    assert agrees(reference(other), said("", other))
    assert shown_calls([RUN, other]) == 'run({"a":  1}), run(ls -l)'
    assert shown_calls([{"custom": {"name": "run"}}]) == "run()"


@pytest.mark.parametrize(
    ("message", "text", "names"),
    [
        (None, "", []),
        ({}, "", []),
        ({"content": None, "refusal": None}, "", []),
        ({"content": "네", "refusal": "안 돼요."}, "네", []),
        ({"content": "", "tool_calls": "book"}, "", []),
        ({"content": "", "tool_calls": ["book", BOOK, None]}, "", ["book"]),
        ({"content": "", "function_call": "book"}, "", []),
        ({"content": "", "tool_calls": [BOOK], "function_call": {"name": "a"}}, "", ["a", "book"]),
        ({"content": "<think>아</think>네"}, "네", []),
        ({"text": "글"}, "글", []),
    ],
)
def test_whatever_a_reference_holds_is_an_answer(message, text, names):
    found = expected_answer(message)
    assert found.text == text
    assert [call.name for call in found.calls] == names


@pytest.mark.parametrize(
    ("message", "thinking"),
    [
        ({"reasoning_content": "a", "reasoning": "b", "thinking": "c"}, "a"),
        ({"reasoning_content": "", "reasoning": "b"}, "b"),
        ({"reasoning": ["b"], "thinking": "c"}, "c"),
        ({"content": "<think>d</think>네"}, "d"),
        ({"content": "<think>d</think>네", "thinking": "c"}, "c"),
    ],
)
def test_thinking_is_found_under_each_of_its_names(message, thinking):
    assert expected_answer(message).thinking == thinking


ARGUMENTS = st.dictionaries(
    st.sampled_from(["날", "a", "b"]),
    st.integers(-3, 3) | st.booleans() | st.none() | st.text("가나", max_size=2),
)


@settings(deadline=None)
@given_any(st.lists(st.tuples(st.sampled_from(["f", "g"]), ARGUMENTS), max_size=4), st.randoms())
def test_calls_are_equal_in_any_order_of_calls_and_keys_and_in_any_spelling(made, random):
    expected = reference(*(call(name, arguments) for name, arguments in made))
    mixed = [
        call(name, json.dumps(dict(random.sample(list(one.items()), len(one))), indent=2))
        for name, one in random.sample(made, len(made))
    ]
    assert agrees(expected, said("", *mixed))
    assert agrees(expected, said("", *mixed, call("f", {"more": 1}))) is False
