import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.templates.messages import (
    plain_conversation,
    split_thought,
    thought,
    with_thought,
    written_out,
)

TEXT = [{"type": "text", "text": "카"}, {"type": "text", "text": "페"}]
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def written(message, **settings):
    (found,) = written_out({"messages": [message]}, **settings)
    return found


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "user", "content": "a"}, {"role": "user", "content": "a"}),
        ({"role": "user", "content": TEXT}, {"role": "user", "content": "카페"}),
        ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
        ({"role": "assistant"}, {"role": "assistant", "content": ""}),
        (
            {"role": "assistant", "content": "a", "weight": 0, "tool_calls": [], "name": None},
            {"role": "assistant", "content": "a"},
        ),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {"a": 1}}}],
            },
        ),
        (
            {"role": "tool", "content": "9", "tool_call_id": "1"},
            {"role": "tool", "content": "9", "tool_call_id": "1"},
        ),
    ],
)
def test_messages_are_written_out_as_templates_expect_them(message, expected):
    assert written(message) == expected


def test_recipe_1_passed_keys_without_a_value():
    message = {"role": "assistant", "content": "a", "tool_calls": [], "name": None, "weight": 1}
    assert written(message, recipe=1) == {key: message[key] for key in message if key != "weight"}


def test_arguments_that_are_an_object_already_stay_one():
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    assert written({"role": "assistant", "tool_calls": [call]})["tool_calls"] == [call]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"role": "user", "content": [{"type": "image_url"}]}, "a part of type 'image_url'"),
        ({"role": "user", "content": [{}]}, "a part of type None"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
            "the arguments of a tool call are not JSON",
        ),
    ],
)
def test_what_no_template_can_show_is_refused(message, reason):
    with pytest.raises(BackendError, match=reason):
        written(message)


def test_the_rest_of_a_conversation_is_kept():
    given = {"messages": [{"role": "user", "content": TEXT}], "tools": [{"name": "f"}]}
    assert plain_conversation(given) == {
        "messages": [{"role": "user", "content": "카페"}],
        "tools": [{"name": "f"}],
    }


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "a"}, ""),
        ({"reasoning_content": "why"}, "why"),
        ({"thinking": "why"}, "why"),
        ({"reasoning": "why"}, "why"),
        ({"reasoning_content": " ", "reasoning": "why"}, "why"),
        ({"thinking": ["why"]}, ""),
        ({"thinking": None}, ""),
    ],
)
def test_thinking_is_found_under_any_of_its_names(message, text):
    assert thought(message) == text


def test_thinking_is_written_under_every_name_or_none():
    message = {"role": "assistant", "thinking": "old"}
    names = ("reasoning_content", "thinking", "reasoning")
    assert with_thought(message, "new") == {"role": "assistant", **dict.fromkeys(names, "new")}
    assert with_thought(message, "") == {"role": "assistant"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("PIN", None),
        ("<think>why</think>PIN", ("why", "PIN")),
        ("\n <think>\nwhy\n\nnot\n</think>\n\nPIN\n", ("why\n\nnot", "PIN\n")),
        ("<think></think>", ("", "")),
        ("say </think>", None),
        ("PIN <think>why</think>", None),
        ("<think>why", None),
        ("<think>a</think>b</think>c", ("a", "b</think>c")),
    ],
)
def test_a_block_of_thinking_is_split_off_the_beginning_only(content, expected):
    assert split_thought(content, ("<think>", "</think>")) == expected
