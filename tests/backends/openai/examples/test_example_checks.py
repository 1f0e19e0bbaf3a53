"""What the service would refuse is refused here, with what to write; the rest passes."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.errors import BackendError
from backends.openai.examples.inspector import OpenAIInspector
from tests.backends.openai.examples.example_parts import (
    ANSWER,
    CALL,
    PAIR,
    TOOL,
    USER,
    asking,
    calling,
    image,
)

OTHER = {**CALL, "id": "call_2"}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "9-18"}
CALLED = {
    "role": "assistant",
    "content": None,
    "function_call": {"name": "hours", "arguments": '{"day": "월"}'},
}


def changed_call(**function):
    return {**CALL, "function": {**CALL["function"], **function}}


def changed_tool(**function):
    return {**TOOL, "function": {**TOOL["function"], **function}}


ALLOWED = [
    [USER, ANSWER],
    [
        {"role": "system", "content": "짧게."},
        USER,
        ANSWER,
        USER,
        {**ANSWER, "weight": 0},
        USER,
        ANSWER,
    ],
    [{**USER, "name": "민수"}, {**ANSWER, "weight": 1, "name": "bot-1"}],
    [USER, calling(CALL)],
    [USER, calling(CALL), RESULT, ANSWER],
    [USER, calling(CALL, OTHER), {**RESULT, "tool_call_id": "call_2"}, RESULT, ANSWER],
    [USER, calling(CALL), RESULT, calling(CALL), RESULT, ANSWER],
    [USER, {"role": "assistant", "content": None, "refusal": "아니요"}],
    [USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "아니요"}]}],
    [asking(image(), image("data:image/jpeg;base64,AAAA", detail="low")), ANSWER],
    [asking(*[image()] * 10), ANSWER],
    # What is published leaves open which keys, names and roles there are besides.
    [{"role": "developer", "content": "짧게."}, USER, ANSWER],
    [{**USER, "lang": "ko"}, {**ANSWER, "reasoning_content": "음"}],
    [{**USER, "name": "김 민수"}, {**ANSWER, "name": "a" * 65}],
    [USER, CALLED, {"role": "function", "name": "hours", "content": "9-18"}, ANSWER],
    [USER, calling(CALL), {**RESULT, "name": "hours"}, ANSWER],
]
REFUSED = [
    ([USER], "messages[0]: is the user's", "assistant"),
    ([USER, ANSWER, USER], "messages[2]: is the user's", "End the conversation"),
    ([USER, calling(CALL), RESULT], "messages[2]: is the tool's", "End the conversation"),
    (
        [{"role": "human", "content": "x"}, ANSWER],
        "messages[0].role: must be one of system, developer, user",
        "role",
    ),
    (
        [{**USER, "weight": 1}, ANSWER],
        "messages[0].weight: is allowed at answers only",
        "nothing at other",
    ),
    ([USER, {**ANSWER, "weight": 0.5}], "messages[1].weight: must be 0 or 1, not 0.5", "0 or 1"),
    (
        [USER, {**ANSWER, "weight": True}],
        "messages[1].weight: must be a number, not true",
        "0 or 1",
    ),
    ([{**USER, "name": 7}, ANSWER], "messages[0].name: must be text, not 7", "Write a name"),
    ([USER, {**ANSWER, "refusal": True}], "messages[1].refusal: must be text, not true", "remove"),
    (
        [USER, {**ANSWER, "content": ["아홉"]}],
        "messages[1].content[0]: must be a mapping of keys to values, not the text '아홉'",
        '"type": "text"',
    ),
    (
        [USER, {**CALLED, "function_call": {"name": "a b"}}],
        "function_call.name: must be of the form",
        "letters",
    ),
    ([USER, {**CALLED, "function_call": "hours"}], "function_call: must be a mapping", "{}"),
    (
        [USER, {**CALLED, "function_call": {"name": "hours", "arguments": "{"}}],
        "messages[1].function_call.arguments: must be JSON: Expecting property name",
        "JSON in text",
    ),
    (
        [USER, CALLED, {"role": "function", "content": "9"}, ANSWER],
        "messages[2].name: is missing",
        "function",
    ),
    ([USER, calling(CALL, {**CALL, "id": ["x"]})], "tool_calls[1].id: must be text", "of its own"),
    ([asking(image("https://[::1")), ANSWER], "which is not an address", "https"),
    (
        [{**USER, "content": None}, ANSWER],
        "messages[0].content: must be text or a list of parts, not empty",
        "Write",
    ),
    ([{**USER, "content": []}, ANSWER], "messages[0].content: must not be empty", "Write"),
    ([USER, {"role": "assistant", "content": None}], "messages[1].content: is missing", "Write"),
    ([USER, {**ANSWER, "tool_calls": []}], "messages[1].tool_calls: must not be empty", "call_1"),
    (
        [USER, calling({**CALL, "type": "custom"})],
        "tool_calls[0].type: must be function, not the text 'custom'",
        "call_1",
    ),
    ([USER, calling({**CALL, "id": ""})], "tool_calls[0].id: must not be empty", "of its own"),
    ([USER, calling(CALL, CALL)], "tool_calls[1].id: is 'call_1', and so is", "of its own"),
    (
        [USER, calling(changed_call(name="get hours"))],
        "function.name: must be of the form",
        "letters",
    ),
    ([USER, calling(changed_call(name="영업"))], "{1,64}$, not the text '영업'", "letters"),
    (
        [USER, calling(changed_call(arguments={"a": 1}))],
        "function.arguments: must be text",
        "JSON in text",
    ),
    (
        [USER, calling(changed_call(arguments="{day"))],
        "function.arguments: must be JSON",
        "JSON in text",
    ),
    ([USER, calling(CALL), ANSWER], "messages[1].tool_calls[0]: is not answered", "tool_call_id"),
    (
        [USER, calling(CALL, OTHER), RESULT, ANSWER],
        "messages[1].tool_calls[1]: is not answered",
        "behind",
    ),
    ([USER, RESULT, ANSWER], "messages[1].tool_call_id: is 'call_1', and no call", "behind"),
    ([USER, calling(CALL), RESULT, RESULT, ANSWER], "messages[3].tool_call_id: is", "once"),
    (
        [USER, calling(CALL), {"role": "tool", "content": "9"}, ANSWER],
        "messages[2].tool_call_id: is missing",
        "`id`",
    ),
    ([asking(*[image()] * 11), ANSWER], "messages: hold 11 images", "Remove images"),
    (
        [USER, {**ANSWER, "content": [image()]}],
        "content[0].type: must be one of text, refusal",
        "user's",
    ),
    (
        [asking({"type": "input_audio"}), ANSWER],
        "content[1].type: must be one of text, image_url, not the text 'input_audio'",
        "images",
    ),
    ([asking(image("cat.png")), ANSWER], "which the service cannot fetch", "https"),
    (
        [asking(image("https://a.example/b.GIF?x=1")), ANSWER],
        "which the service does not read",
        "webp",
    ),
    ([asking(image("data:image/gif;base64,AA")), ANSWER], "is of type 'gif'", "Convert"),
    ([asking(image("data:text/html,AA")), ANSWER], "begins with 'data:text/html'", "data:image"),
    (
        [asking(image("data:image/png;base64," + "A" * 14_000_000)), ANSWER],
        "image_url.url: has 10.5 MB",
        "smaller",
    ),
    (
        [asking(image(detail="best")), ANSWER],
        "detail: must be one of auto, low, high, not the text 'best'",
        "auto, low",
    ),
    ([asking({"type": "image_url"}), ANSWER], "content[1].image_url: is missing", "image_url"),
]
REFUSED_TOOLS = [
    ([], "tools: must not be empty", "in a list"),
    ([TOOL] * 129, "tools: must be at most 128 items long", "128"),
    ([{"name": "hours"}], "tools[0].type: is missing", "parameters"),
    ([changed_tool(name="a b")], "tools[0].function.name: must be of the form", "letters"),
    ([changed_tool(name="a" * 65)], "tools[0].function.name: must be of the form", "64"),
    ([changed_tool(description=1)], "tools[0].function.description: must be text, not 1", ""),
    (
        [changed_tool(strict="yes")],
        "function.strict: must be true or false, not the text 'yes'",
        "",
    ),
    ([changed_tool(parameters={"type": "array"})], "parameters.type: must be object", "object"),
    ([changed_tool(parameters={"day": "string"})], "parameters.type: is missing", "object"),
    (
        [changed_tool(parameters=[])],
        "parameters: must be a mapping of keys to values, not a list",
        "object",
    ),
    (
        [changed_tool(parameters={"type": "object", "properties": []})],
        "function.parameters.properties: must be a mapping",
        "day",
    ),
]
REFUSED_PAIRS = [
    (
        {"preferred_output": [ANSWER, ANSWER]},
        "preferred_output: must be exactly one message of the assistant, not 2",
        "",
    ),
    ({"non_preferred_output": []}, "non_preferred_output: must be exactly one message", "`input`"),
    (
        {"preferred_output": [USER]},
        "preferred_output[0].role: must be assistant, not the text 'user'",
        "`input`",
    ),
    ({"input": {"messages": []}}, "input.messages: must not be empty", "Write"),
    (
        {"input": {"messages": [asking(image())]}},
        "input.messages[0].content: holds an image",
        "supervised",
    ),
    ({"input": {"messages": [USER], "tools": [{}]}}, "input.tools[0].type: is missing", ""),
    ({"input": {"messages": [{**USER, "weight": 1}]}}, "input.messages[0].weight: is allowed", ""),
    (
        {"preferred_output": [{**ANSWER, "content": None}]},
        "preferred_output[0].content: is missing",
        "",
    ),
]
REFUSED_PROMPTS = [
    ([USER, ANSWER], "messages[1]: is an answer", "Remove the turns"),
    ([], "messages: must not be empty", ""),
    ([{**USER, "weight": 1}], "messages[0].weight: is allowed", ""),
]


def check(example, method="supervised"):
    before = copy.deepcopy(example)
    OpenAIInspector(model="gpt-4.1-mini", method=method).check(example)
    assert example == before


@pytest.mark.parametrize("messages", ALLOWED)
def test_what_the_service_takes_passes(messages):
    check({"messages": messages})
    check({"messages": messages, "tools": [TOOL, {**TOOL, "function": {"name": "now"}}]})
    check({"messages": messages, "tools": [changed_tool(parameters={})]})


@pytest.mark.parametrize(("messages", "message", "remedy"), REFUSED)
def test_what_the_service_refuses_is_refused(messages, message, remedy):
    with pytest.raises(BackendError) as caught:
        check({"messages": messages})
    assert message in caught.value.message
    assert remedy in caught.value.remedy
    assert caught.value.remedy


@pytest.mark.parametrize(("tools", "message", "remedy"), REFUSED_TOOLS)
def test_definitions_of_tools_are_checked(tools, message, remedy):
    with pytest.raises(BackendError) as caught:
        check({"messages": [USER, ANSWER], "tools": tools})
    assert message in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("key", ["functions", "tools"])
def test_deprecated_functions_are_checked_as_tools_are(key):
    form = [TOOL] if key == "tools" else [TOOL["function"]]
    check({"messages": [USER, ANSWER], key: form})
    for wrong in ([], [7], form * 129, "hours"):
        with pytest.raises(BackendError):
            check({"messages": [USER, ANSWER], key: wrong})


@pytest.mark.parametrize("parallel", [True, False, None])
def test_parallel_calls_are_switched_per_example(parallel):
    check({"messages": [USER, ANSWER], "tools": [TOOL], "parallel_tool_calls": parallel})
    check({**PAIR, "input": {**PAIR["input"], "parallel_tool_calls": parallel}}, "dpo")
    prompt = {"messages": [USER], "parallel_tool_calls": parallel}
    check(prompt, "reinforcement")
    for wrong in ({"messages": [USER, ANSWER], "parallel_tool_calls": "false"},):
        with pytest.raises(
            BackendError, match="parallel_tool_calls: must be true or false, not the text 'false'"
        ):
            check(wrong)


@pytest.mark.parametrize(("kind", "most"), [("openai", 10), ("azure", 64), ("compatible", None)])
def test_how_many_images_depends_on_the_service(kind, most):
    inspector = OpenAIInspector(model="gpt-4.1", method="supervised", kind=kind)
    inspector.check({"messages": [asking(*[image()] * (most or 500)), ANSWER]})
    if most is not None:
        with pytest.raises(BackendError, match=f"at most {most}"):
            inspector.check({"messages": [asking(*[image()] * (most + 1)), ANSWER]})


def test_a_role_that_is_not_published_is_worth_a_warning():
    warnings = [
        OpenAIInspector(model="gpt-4.1", method=method, kind=kind).warnings(["developer", "tools"])
        for method, kind in (
            ("supervised", "openai"), ("dpo", "azure"),
            ("reinforcement", "openai"), ("supervised", "compatible"),
        )
    ]  # fmt: skip
    assert [len(one) for one in warnings] == [1, 1, 0, 0]
    assert "`developer` is not in the published form" in warnings[0][0]
    assert OpenAIInspector(model="gpt-4.1", method="supervised").warnings(["system"]) == []


def test_a_pair_is_two_single_answers_to_one_conversation():
    check(PAIR, "dpo")
    check({**PAIR, "input": {"messages": [USER, calling(CALL), RESULT], "tools": [TOOL]}}, "dpo")


@pytest.mark.parametrize(("changes", "message", "remedy"), REFUSED_PAIRS)
def test_pairs_are_checked(changes, message, remedy):
    with pytest.raises(BackendError) as caught:
        check(PAIR | changes, "dpo")
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_a_graded_prompt_ends_with_the_user():
    check(
        {"messages": [{"role": "developer", "content": "짧게."}, USER], "hour": 9}, "reinforcement"
    )
    check({"messages": [USER, ANSWER, USER], "tools": [TOOL]}, "reinforcement")


@pytest.mark.parametrize(("messages", "message", "remedy"), REFUSED_PROMPTS)
def test_graded_prompts_are_checked(messages, message, remedy):
    with pytest.raises(BackendError) as caught:
        check({"messages": messages}, "reinforcement")
    assert message in caught.value.message
    assert remedy in caught.value.remedy


@given(
    st.booleans(),
    st.lists(st.sampled_from(["user", "assistant"]), max_size=4),
    st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip),
)
def test_no_rule_is_about_plain_conversations(has_system, between, text):
    roles = ["system"] * has_system + ["user", *between, "assistant"]
    example = {"messages": [{"role": role, "content": text} for role in roles]}
    inspector = OpenAIInspector(model="gpt-4.1-mini", method="supervised")
    assert inspector.all_pass(json.dumps(example).encode())
    inspector.check(example)


@pytest.mark.parametrize("method", ["dpo", "reinforcement"])
def test_other_methods_look_at_every_example(method):
    inspector = OpenAIInspector(model="gpt-4.1-mini", method=method)
    assert not inspector.all_pass(b"{}\n")
