"""What is read of an answer: text, thinking and tool calls, whole and in pieces."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.openai.api.protocol import OutcomeUnknown
from backends.openai.chat.chat_answers import StreamReader, completion_of, split_thinking

CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "hours", "arguments": '{"day": "월"}'},
}


def completion(message, reason="stop", stops=(), *, splits=False):
    body = {"choices": [{"message": message, "finish_reason": reason}]}
    return completion_of(body, stops, splits=splits)


@pytest.mark.parametrize(
    ("message", "calls"),
    [
        ({"tool_calls": [CALL]}, (CALL,)),
        ({"tool_calls": [CALL, {**CALL, "id": "call_2"}]}, (CALL, {**CALL, "id": "call_2"})),
        (
            {"function_call": CALL["function"]},
            ({"id": "", "type": "function", "function": CALL["function"]},),
        ),
        (
            {"tool_calls": [{"function": {"name": "hours", "arguments": {"day": "월"}}}]},
            ({"id": "", "type": "function", "function": CALL["function"]},),
        ),
        (
            {"tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "x", "input": "y"}}]},
            ({"id": "c", "type": "custom", "custom": {"name": "x", "input": "y"}},),
        ),
        ({"tool_calls": []}, ()),
        ({"tool_calls": "no list"}, ()),
    ],
)
def test_calls_are_read_in_the_protocol_s_form(message, calls):
    answer = completion({"content": None, **message}, "tool_calls")
    assert (answer.text, answer.tool_calls, answer.finish_reason) == ("", calls, "stop")


def test_text_beside_calls_is_kept():
    answer = completion({"content": "잠시만요.", "tool_calls": [CALL]})
    assert (answer.text, answer.tool_calls) == ("잠시만요.", (CALL,))


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_thinking_in_a_field_of_its_own_is_no_text(key):
    answer = completion({"content": "9", key: "음"})
    assert (answer.text, answer.thinking) == ("9", "음")


@pytest.mark.parametrize(
    ("content", "text", "thinking"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab", ""),
        ([{"type": "refusal", "refusal": "아니요"}], "아니요", ""),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "음"}]},
                {"type": "text", "text": "9"},
            ],
            "9",
            "음",
        ),
        ([None, 7, {"text": 1}], "", ""),
    ],
)
def test_content_in_parts_is_joined(content, text, thinking):
    answer = completion({"content": content})
    assert (answer.text, answer.thinking) == (text, thinking)


def test_a_refusal_is_what_the_model_says():
    assert completion({"content": None, "refusal": "아니요"}).text == "아니요"


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("<think>\n음\n</think>\n\n9시", "음", "9시"),
        ("\n<think>\n\n</think>\n\n9시", "", "9시"),
        ("음\n</think>\n\n9시", "음", "9시"),
        ("<think>\n길다", "길다", ""),
        ("9시", "", "9시"),
        (" 9시 ", "", " 9시 "),
        ("태그는 <think>입니다</think>", "", "태그는 <think>입니다</think>"),
    ],
)
def test_thinking_in_the_text_is_split_off_at_servers_that_leave_it_there(text, thinking, answer):
    assert split_thinking(text) == (thinking, answer)
    found = completion({"content": text}, splits=True)
    assert (found.thinking, found.text) == (thinking, answer)
    # OpenAI's own models have a field for it: what they say is all answer.
    assert completion({"content": text}).text == text


def test_a_further_stop_ends_the_answer_and_what_is_behind_it():
    answer = completion({"content": "a#b", "tool_calls": [CALL]}, "tool_calls", ["#"])
    assert (answer.text, answer.tool_calls, answer.finish_reason) == ("a", (), "stop")


def streamed(deltas, *, splits=False, reason="stop"):
    reader = StreamReader(splits=splits)
    pieces = [{"choices": [{"delta": delta, "finish_reason": None}]} for delta in deltas]
    ends = [{"choices": [{"delta": {}, "finish_reason": reason}]}, {"choices": [], "usage": None}]
    chunks = [chunk for piece in pieces + ends for chunk in reader.read(piece)]
    return [*chunks, *reader.end()]


def test_streamed_calls_are_put_together():
    deltas = [
        {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "hours"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"day": '}}]},
        {"tool_calls": [{"index": 1, "id": "call_2", "function": {"name": "now"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"월"}'}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
    ]

    last = streamed(deltas, reason="tool_calls")[-1]

    other = {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    assert last.tool_calls == (CALL, other)
    assert last.finish_reason == "stop"


def test_streamed_thinking_is_no_text():
    chunks = streamed([{"reasoning_content": "음"}, {"content": "9"}, {"reasoning": None}])
    assert [(one.thinking, one.text) for one in chunks] == [("음", ""), ("", "9"), ("", "")]


@given(
    st.text("<think>/ 음\n", max_size=30),
    st.lists(st.integers(min_value=1, max_value=9), max_size=30),
)
def test_a_text_is_split_alike_whole_and_in_pieces(text, sizes):
    # Only a whole text can show that an end mark without a beginning ended the thinking.
    text = f"<think>{text}" if "<think>" not in text else text
    deltas, rest = [], text
    for size in sizes:
        deltas.append({"content": rest[:size]})
        rest = rest[size:]
    chunks = streamed([*deltas, {"content": rest}], splits=True)

    thinking, answer = split_thinking(text)

    assert "".join(one.text for one in chunks) == answer
    assert "".join(one.thinking for one in chunks).strip() == thinking


def test_a_stream_that_breaks_off_is_no_answer():
    reader = StreamReader(splits=False)
    list(reader.read({"choices": [{"delta": {"content": "반"}, "finish_reason": None}]}))
    with pytest.raises(OutcomeUnknown, match="broke off"):
        list(reader.end())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    ["content", "tool_calls", "function", "arguments", "id", "index", "thinking"]
                ),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_any_message_can_be_read(message):
    answer = completion(message, splits=True)
    json.dumps([answer.text, answer.thinking, list(answer.tool_calls)])
    reader = StreamReader(splits=True)
    list(reader.read({"choices": [{"delta": message, "finish_reason": "stop"}], "usage": message}))
    list(reader.end())
