"""Control tokens and broken calls, wherever a template would print them."""

import re

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.tokens.example_checks import check_conversation

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
