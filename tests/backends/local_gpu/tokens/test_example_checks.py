"""Control tokens and broken calls, wherever a template would print them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.errors import BackendError
from backends.local_gpu.tokens.example_checks import check_conversation, check_text

CONTROL = re.compile(re.escape("<|im_end|>"))
TOKEN = "<|im_end|>"
ASKED = {"role": "user", "content": "q"}
ANSWERED = {"role": "assistant", "content": "a"}
TOOL = {"type": "function", "function": {"name": "f", "description": "d"}}


def called(arguments="{}", name="f", number="c1"):
    call = {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


@pytest.mark.parametrize(
    ("message", "where"),
    [
        (called(f'{{"a": "{TOKEN}"}}'), "a tool call"),
        (called('{"a": ["\\u003c|im_end|>"]}'), "the arguments of a tool call"),
        (called(f'{{"{TOKEN}": 1}}'), "a tool call"),
        (called({"a": {"b": [TOKEN]}}), "a tool call"),
        (called({TOKEN: 1}), "a tool call"),
        (called(name=TOKEN), "a tool call"),
        (called(number=TOKEN), "a tool call"),
        ({**ANSWERED, "reasoning_content": f"so {TOKEN}"}, "the assistant's message"),
        ({**ANSWERED, "name": TOKEN}, "the assistant's message"),
        ({**ANSWERED, "extra": [{"a": TOKEN}]}, "the assistant's message"),
        ({**ANSWERED, "content": [{"type": "text", "text": "<|im_"}, {"type": "text", "text": "end|>"}]}, "the assistant's text"),
    ],
)  # fmt: skip
def test_a_control_token_is_refused_wherever_it_stands_in_a_message(message, where):
    with pytest.raises(BackendError, match=f"{where} contains the control token"):
        check_conversation({"messages": [ASKED, message]}, CONTROL)


@pytest.mark.parametrize(
    "tool",
    [
        {**TOOL, "function": {"name": TOKEN}},
        {**TOOL, "function": {**TOOL["function"], "description": f"ends with {TOKEN}"}},
        {**TOOL, "function": {"name": "f", "parameters": {"properties": {TOKEN: {}}}}},
        {**TOOL, "function": {"name": "f", "parameters": {"enum": ["a", TOKEN]}}},
    ],
)
def test_a_control_token_is_refused_in_tool_definitions(tool):
    with pytest.raises(BackendError, match="a tool definition contains the control token"):
        check_conversation({"messages": [ASKED, ANSWERED], "tools": [tool]}, CONTROL)


def test_what_holds_none_passes():
    messages = [ASKED, called('{"a": "<|im_"}'), {"role": "tool", "content": "end|>"}, ANSWERED]
    assert check_conversation({"messages": messages, "tools": [TOOL]}, CONTROL) is None


@pytest.mark.parametrize(
    ("example", "message", "remedy"),
    [
        (
            {"input": {}, "preferred_output": []},
            "reads conversations, and this has 'input', 'preferred_output'",
            "Write {",
        ),
        ({"messages": []}, "it has no answer", "Remove it"),
        ({"messages": [ASKED]}, "it has no answer", "end it with a message of the assistant"),
        ({"messages": [ASKED, {**ANSWERED, "weight": 0}]}, "it has no answer", ""),
        (
            {"messages": [ASKED, {"role": "assistant", "content": None, "refusal": "no"}]},
            "an answer is a `refusal`",
            "as the `content`",
        ),
        (
            {"messages": [ASKED, {"role": "assistant", "content": None, "function_call": {}}]},
            None,
            "",
        ),
        (
            {"messages": [ASKED, {"role": "assistant", "function_call": {"name": "f"}}]},
            "an answer has a `function_call`",
            "`tool_calls`",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, ANSWERED]},
            "a message contains an image; the local trainer reads text only",
            "Remove the example",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "audio"}]}, ANSWERED]},
            "a message contains a part of type 'audio'",
            "Remove the part",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}, ANSWERED]},
            "a part of type 'text'",
            "",
        ),
        ({"messages": [ASKED, called("{broken")]}, "are not JSON", "object in text"),
        ({"messages": [ASKED, called()]}, None, ""),
        ({"messages": [{"role": "system", "content": None}, ASKED, ANSWERED]}, None, ""),
        ({"messages": [{"role": "tool"}, ANSWERED], "tools": None}, None, ""),
    ],
)
def test_what_the_trainer_would_refuse(example, message, remedy):
    if message is None:
        assert check_conversation(example, CONTROL) is None
        return
    with pytest.raises(BackendError, match=re.escape(message)) as caught:
        check_conversation(example, CONTROL)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({"text": "a"}, None),
        ({"text": ""}, "nothing is learned from an empty text"),
        ({"text": f"a{TOKEN}"}, "the text contains the control token"),
        ({"text": 5}, "this example is not a plain text"),
        ({"messages": [ASKED, ANSWERED]}, "this example is not a plain text"),
    ],
)
def test_plain_texts(example, message):
    if message is None:
        assert check_text(example, CONTROL) is None
        return
    with pytest.raises(BackendError, match=message):
        check_text(example, CONTROL)


@given(
    messages=st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text()}
        ),
        max_size=4,
    )
)
def test_plain_conversations_are_refused_for_a_token_or_a_missing_answer_only(messages):
    wrong = any(TOKEN in message["content"] for message in messages)
    wrong |= all(message["role"] != "assistant" for message in messages)
    try:
        check_conversation({"messages": messages}, CONTROL)
    except BackendError:
        assert wrong
    else:
        assert not wrong


CLEAN = "Remove it from the text (for HTML: `prepare: {strip_html: true}`)."
NO_ANSWER = "nothing is learned from this example: it has no answer of the assistant"


@pytest.mark.parametrize(
    ("example", "message", "remedy"),
    [
        (
            {"messages": [{"role": "user", "content": f"뭐? {TOKEN}"}, ANSWERED]},
            "the user's text contains the control token '<|im_end|>'",
            CLEAN,
        ),
        (
            {"messages": [ASKED, ANSWERED], "tools": [{"function": {"name": TOKEN}}]},
            "a tool definition contains the control token '<|im_end|>'",
            CLEAN,
        ),
        (
            {"messages": [ASKED, called('{"a": "\\u003c|im_end|>"}')]},
            "the arguments of a tool call contains the control token '<|im_end|>'",
            CLEAN,
        ),
        ({"messages": [ASKED]}, NO_ANSWER, "Remove it, or end it with a message of the assistant."),
        (
            {"messages": [ASKED, {"role": "assistant", "content": None, "refusal": "싫어요"}]},
            "an answer is a `refusal`, which no chat template reads",
            "Write its text as the `content`.",
        ),
        (
            {
                "messages": [
                    ASKED,
                    {"role": "assistant", "content": None, "function_call": {"name": "f"}},
                ]
            },
            "an answer has a `function_call`, which no chat template reads",
            "Write it as `tool_calls`.",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, ANSWERED]},
            "a message contains an image; the local trainer reads text only",
            "Remove the example.",
        ),
        (
            {"messages": [{"role": "user", "content": [{"text": "a"}]}, ANSWERED]},
            "a message contains a part of type None; the local trainer reads text only",
            "Remove the part, or the example.",
        ),
        (
            {"messages": [ASKED, called("[1")]},
            "the arguments of a tool call are not JSON: Expecting ',' delimiter: line 1 column 3 (char 2)",
            'Write them as an object in text: "{\\"day\\": \\"Monday\\"}".',
        ),
        (
            {"text": "a", "label": 1},
            "supervised training reads conversations, and this has 'text', 'label'",
            'Write {"messages": [{"role": "user", ...}, {"role": "assistant", ...}]}.',
        ),
    ],
)
def test_each_refusal_says_what_is_wrong_and_what_to_write(example, message, remedy):
    with pytest.raises(BackendError) as caught:
        check_conversation(example, CONTROL)
    assert (caught.value.message, caught.value.remedy) == (message, remedy)


@pytest.mark.parametrize(
    ("example", "message", "remedy"),
    [
        (
            {"messages": []},
            "continued pre-training reads plain texts, and this example is not a plain text",
            'Write {"text": "..."}.',
        ),
        ({"text": ""}, "nothing is learned from an empty text", "Remove it."),
        ({"text": f"글 {TOKEN}"}, "the text contains the control token '<|im_end|>'", CLEAN),
    ],
)
def test_each_refusal_of_a_text_says_what_to_write(example, message, remedy):
    with pytest.raises(BackendError) as caught:
        check_text(example, CONTROL)
    assert (caught.value.message, caught.value.remedy) == (message, remedy)


@pytest.mark.parametrize(
    "message",
    [
        # A refusal or an old kind of call beside what a template reads does no harm.
        {**called(), "refusal": "no"},
        {**called(), "function_call": {"name": "f"}},
        {**ANSWERED, "refusal": None},
        {"role": "assistant", "content": ""},
        called({"day": "월"}),
    ],
)
def test_what_a_template_reads_or_does_not_see_passes(message):
    assert check_conversation({"messages": [ASKED, message]}, CONTROL) is None


def test_only_an_assistant_can_refuse():
    asked = {"role": "user", "content": None, "refusal": "no", "function_call": {"name": "f"}}
    assert check_conversation({"messages": [asked, ANSWERED]}, CONTROL) is None
