"""Messages of a chat request: what reaches the prompt, and which calls and answers fit."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.server.api.errors import ApiError
from controller.server.api.requests import Body, validated
from controller.server.chat.chat_messages import Message, Tool, as_prompt, check_history


class Conversation(Body):
    messages: list[Message]


class Tools(Body):
    tools: list[Tool]


def read(*messages):
    return validated(Conversation, {"messages": list(messages)}).messages


def call(call_id, **changes):
    function = {"name": "hours", "arguments": "{}"}
    return {"id": call_id, "type": "function", "function": function, **changes}


def asking(*ids, content=None):
    message = {"role": "assistant", "content": content}
    return {**message, "tool_calls": [call(one) for one in ids]} if ids else message


def result(call_id):
    return {"role": "tool", "tool_call_id": call_id, "content": "9-18"}


USER = {"role": "user", "content": "?"}


@pytest.mark.parametrize(
    ("written", "prompt"),
    [
        (USER, USER),
        ({"role": "developer", "content": "a"}, {"role": "developer", "content": "a"}),
        ({**USER, "name": "kim"}, {**USER, "name": "kim"}),
        ({**USER, "name": None}, USER),
        ({"role": "user", "content": ""}, {"role": "user", "content": ""}),
        ({"role": "user", "content": []}, {"role": "user", "content": ""}),
        (
            {"role": "user", "content": [{"type": "text", "text": t} for t in "가나"]},
            {"role": "user", "content": "가나"},
        ),
        (
            {"role": "system", "content": [{"type": "text", "text": "x", "cache_control": {}}]},
            {"role": "system", "content": "x"},
        ),
        (
            {"role": "assistant", "content": "a", "tool_calls": []},
            {"role": "assistant", "content": "a"},
        ),
        (
            {"role": "assistant", "content": "a", "refusal": None, "annotations": []},
            {"role": "assistant", "content": "a"},
        ),
        (
            {"role": "assistant", "content": "a", "thinking": "음"},
            {"role": "assistant", "content": "a", "thinking": "음"},
        ),
        (
            {"role": "assistant", "tool_calls": [call("c1", index=0)]},
            {"role": "assistant", "tool_calls": [call("c1")]},
        ),
        (result("c1"), result("c1")),
    ],
)
def test_what_a_message_adds_to_the_prompt(written, prompt):
    assert as_prompt(read(written)) == [prompt]


@pytest.mark.parametrize("keys", [("id", "type", "function"), ("function", "id", "type")])
@pytest.mark.parametrize("inner", [("name", "arguments"), ("arguments", "name")])
def test_keys_of_a_call_stay_in_the_order_of_the_request(keys, inner):
    written = call("c1")
    written["function"] = {key: written["function"][key] for key in inner}
    written = {key: written[key] for key in keys}
    [prompt] = as_prompt(read({"role": "assistant", "tool_calls": [written]}))
    assert json.dumps(prompt["tool_calls"]) == json.dumps([written])


@given(order=st.permutations(["name", "description", "parameters", "strict", "return"]))
def test_keys_of_a_definition_stay_in_the_order_of_the_request(order):
    values = {"name": "f", "description": "d", "parameters": {"z": 1, "a": None}, "strict": True}
    function = {key: {**values, "return": {"b": 2}}[key] for key in order}
    [tool] = validated(Tools, {"tools": [{"type": "function", "function": function}]}).tools
    assert json.dumps(tool.shown()) == json.dumps({"type": "function", "function": function})


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": ["x"]}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "messages[0].content"),
        ({"role": "robot", "content": "x"}, "messages[0].role"),
        ({"content": "x"}, "messages[0].role"),
        ({**USER, "nmae": "x"}, "messages[0].nmae"),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
        (asking("", content="x"), "messages[0].tool_calls[0].id"),
        ({"role": "assistant", "refusal": "no"}, "messages[0].refusal"),
        ("x", "messages[0]"),
    ],
)
def test_a_malformed_message_is_named(message, param):
    with pytest.raises(ApiError) as caught:
        read(message)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[]", "such as '{}', not '[]'"),
        ("1", "such as '{}', not '1'"),
        ('{"a": NaN}', "is not JSON"),
    ],
)
def test_arguments_are_a_json_object(arguments, said):
    broken = call("c1", function={"name": "f", "arguments": arguments})
    with pytest.raises(ApiError, match="must be a JSON object as text") as caught:
        read({"role": "assistant", "tool_calls": [broken]})
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([USER], None),
        ([USER, asking("a"), result("a"), USER], None),
        ([asking("a", "b"), result("b"), result("a")], None),
        ([asking("a"), result("a"), asking("a"), result("a")], None),
        ([asking()], "messages[0].content"),
        ([asking(content="")], None),
        ([asking("a")], "messages[0].tool_calls[0].id"),
        ([asking("a"), USER], "messages[0].tool_calls[0].id"),
        ([asking("a", "b"), result("a"), USER], "messages[0].tool_calls[1].id"),
        ([asking("a", "a"), result("a")], "messages[0].tool_calls[1].id"),
        ([result("a")], "messages[0].tool_call_id"),
        ([asking("a"), result("b")], "messages[1].tool_call_id"),
        ([asking("a"), result("a"), result("a")], "messages[2].tool_call_id"),
        ([asking("a"), asking("b"), result("a"), result("b")], "messages[0].tool_calls[0].id"),
    ],
)
def test_calls_and_answers_fit(messages, param):
    read_messages = read(*messages)
    if param is None:
        check_history(read_messages)
        return
    with pytest.raises(ApiError) as caught:
        check_history(read_messages)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert f"'{param}'" in caught.value.message


turns = st.lists(st.lists(st.sampled_from("abcd"), min_size=1, unique=True), max_size=4)


@given(turns=turns, choose=st.data())
def test_answers_in_any_order_fit_and_a_missing_one_does_not(turns, choose):
    """Each turn calls some tools; all are answered, in any order, before the next turn."""
    messages = []
    for ids in turns:
        order = choose.draw(st.permutations(ids))
        messages += [USER, asking(*ids), *(result(one) for one in order)]
    check_history(read(*messages))
    answers = [place for place, one in enumerate(messages) if one["role"] == "tool"]
    if answers:
        del messages[choose.draw(st.sampled_from(answers))]
        with pytest.raises(ApiError):
            check_history(read(*messages))
