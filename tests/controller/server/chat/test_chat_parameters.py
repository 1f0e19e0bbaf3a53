"""Every parameter and message of a chat request: honoured, safe_filename, or refused by name."""

import openai
import pytest
from openai.types.chat import completion_create_params

from controller.server.chat.chat_parameters import HARMLESS, UNSUPPORTED, ChatRequest
from tests.controller.server.chat_helpers import HELLO, Talking
from tests.controller.server.serve_helpers import BASE, TOKEN, serving

TOOL = {"type": "function", "function": {"name": "hours", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("parameters")
    with serving(root, Talking(root / "s")) as served:
        yield served


@pytest.fixture
def post(server):
    """Send a request; return the status and the error."""
    server.backend.asked.clear()

    def send(**options):
        given = {"model": BASE, "messages": HELLO, "max_tokens": 2, **options}
        answer = server.send("POST", "/v1/chat/completions", json=given)
        return answer.status_code, answer.json().get("error")

    return send


@pytest.fixture
def asked(server):
    """Return what reached the engine last."""

    def last():
        _, prompt, sampling = server.backend.asked[-1]
        return prompt, sampling

    return last


def test_every_parameter_of_the_sdk_has_a_rule():
    known = ChatRequest.model_fields.keys() | HARMLESS | UNSUPPORTED.keys()
    assert completion_create_params.CompletionCreateParamsBase.__annotations__.keys() <= known


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_p", 0.9),
        ("top_p", True),
        ("top_k", 40),
        ("min_p", 0.1),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("repetition_penalty", 1.1),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"50256": -100}),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x"}}),
        ("response_format", "text"),
        ("reasoning_effort", "high"),
        ("reasoning_effort", 3),
        ("verbosity", "low"),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy"}),
        ("web_search_options", {}),
        ("guided_json", {"type": "object"}),
        ("guided_choice", ["a"]),
        ("structured_outputs", {"json": {}}),
        ("ignore_eos", True),
        ("stop_token_ids", [1]),
        ("functions", [{"name": "hours"}]),
        ("function_call", "auto"),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "hours"}}),
        ("tool_choice", {"type": "allowed_tools", "allowed_tools": {}}),
        ("tool_choice", 1),
    ],
)
def test_what_cannot_be_met_is_refused_by_name(post, asked, name, value):
    status, error = post(**{name: value, "tools": [TOOL]})
    assert (status, error["code"], error["param"]) == (400, "unsupported_value", name)
    assert f"'{name}'" in error["message"]
    with pytest.raises(IndexError):
        asked()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("temprature", "temperature"),
        ("max_token", "max_tokens"),
        ("tool_choise", "tool_choice"),
        ("Stream", "stream"),
        ("parallel_tools_calls", "parallel_tool_calls"),
        ("xyzzy", None),
    ],
)
@pytest.mark.parametrize("value", [1, None])
def test_a_misspelt_parameter_is_refused(post, name, meant, value):
    status, error = post(**{name: value})
    assert (status, error["code"], error["param"]) == (400, "unknown_parameter", name)
    assert ("Did you mean" in error["message"]) == (meant is not None)
    assert meant is None or f"Did you mean `{meant}`?" in error["message"]


def test_what_asks_for_nothing_is_accepted(post):
    neutral = {name: values[0] for name, values in UNSUPPORTED.items() if values}
    assert post(**neutral) == (200, None)
    names = [*ChatRequest.model_fields, *UNSUPPORTED, *HARMLESS]
    nothing = {name: None for name in names if name not in {"model", "messages"}}
    assert post(**nothing) == (200, None)


def test_harmless_parameters_are_ignored(post):
    given = {
        "user": "u-1",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "flex",
        "safety_identifier": "x",
        "prompt_cache_key": "x",
        "prediction": {"type": "content", "content": "x"},
    }
    assert post(**given) == (200, None)


@pytest.mark.parametrize(
    ("options", "thinking"),
    [
        ({}, False),
        ({"reasoning_effort": "none"}, False),
        ({"chat_template_kwargs": {"enable_thinking": True}}, True),
        ({"chat_template_kwargs": {"thinking": True}}, True),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
    ],
)
def test_thinking_is_asked_for(post, asked, options, thinking):
    assert post(**options) == (200, None)
    assert asked()[1].thinking is thinking


@pytest.mark.parametrize(
    ("options", "code", "param"),
    [
        ({"chat_template_kwargs": {"x": 1}}, "unsupported_value", "chat_template_kwargs.x"),
        (
            {"chat_template_kwargs": {"enable_thinking": "yes"}},
            "invalid_value",
            "chat_template_kwargs.enable_thinking",
        ),
        (
            {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "none"},
            "invalid_value",
            "reasoning_effort",
        ),
        (
            {"chat_template_kwargs": {"enable_thinking": False, "thinking": True}},
            "invalid_value",
            "chat_template_kwargs",
        ),
        ({"max_completion_tokens": 3}, "invalid_value", "max_tokens"),
        ({"max_tokens": "3"}, "invalid_value", "max_tokens"),
        ({"stop": [1]}, "invalid_value", "stop[0]"),
        ({"stop": {"a": 1}}, "invalid_value", "stop"),
        ({"stop": ""}, "invalid_value", "stop"),
        ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
        (
            {"stream": True, "stream_options": {"include_usages": True}},
            "unknown_parameter",
            "stream_options.include_usages",
        ),
        ({"stream": "yes"}, "invalid_value", "stream"),
        ({"n": True}, "invalid_value", "n"),
        ({"tools": [{"type": "custom"}]}, "invalid_value", "tools[0].type"),
        ({"tools": {}}, "invalid_value", "tools"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].function"),
        (
            {"tools": [{"type": "function", "function": {"name": "x", "parameters": "{}"}}]},
            "invalid_value",
            "tools[0].function.parameters",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "x", "paramters": {}}}]},
            "unknown_parameter",
            "tools[0].function.paramters",
        ),
    ],
)
def test_malformed_parameters_are_named(post, options, code, param):
    status, error = post(**options)
    assert (status, error["code"], error["param"]) == (400, code, param)


CALL = {"id": "c1", "type": "function", "function": {"name": "hours", "arguments": '{"day": 1}'}}


def call(**changes):
    return {key: value for key, value in {**CALL, **changes}.items() if value != "-"}


def function(**changes):
    given = {**CALL["function"], **changes}
    return call(function={key: value for key, value in given.items() if value != "-"})


def history(*calls, **options):
    said = {"role": "assistant", "content": None, "tool_calls": list(calls)}
    results = [{"role": "tool", "tool_call_id": "c1", "content": "9-18"}]
    return [*HELLO, said | options, *results]


IN_CALL = "messages[1].tool_calls[0]"


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (history(function(arguments="{")), f"{IN_CALL}.function.arguments"),
        (history(function(arguments="")), f"{IN_CALL}.function.arguments"),
        (history(function(arguments="[1]")), f"{IN_CALL}.function.arguments"),
        (history(function(arguments='"{}"')), f"{IN_CALL}.function.arguments"),
        (history(function(arguments="NaN")), f"{IN_CALL}.function.arguments"),
        (history(function(arguments="[" * 5_000)), f"{IN_CALL}.function.arguments"),
        (history(function(arguments='{"a": "\\ud800"}')), f"{IN_CALL}.function.arguments"),
        (history(function(arguments={"day": 1})), f"{IN_CALL}.function.arguments"),
        (history(function(arguments=None)), f"{IN_CALL}.function.arguments"),
        (history(function(arguments="-")), f"{IN_CALL}.function.arguments"),
        (history(function(name="-")), f"{IN_CALL}.function.name"),
        (history(function(name="")), f"{IN_CALL}.function.name"),
        (history(function(argument="{}")), f"{IN_CALL}.function.argument"),
        (history(call(function="-")), f"{IN_CALL}.function"),
        (history(call(function="hours")), f"{IN_CALL}.function"),
        (history(call(id="-")), f"{IN_CALL}.id"),
        (history(call(id=7)), f"{IN_CALL}.id"),
        (history(call(type="custom")), f"{IN_CALL}.type"),
        (history("x"), IN_CALL),
        (history(None), IN_CALL),
        (history(CALL, CALL), "messages[1].tool_calls[1].id"),
        (history(CALL, call(id="c2")), "messages[1].tool_calls[1].id"),
        (history(CALL, tool_calls="x"), "messages[1].tool_calls"),
        (history(CALL, tool_calls={"a": 1}), "messages[1].tool_calls"),
        (history(CALL)[:2], f"{IN_CALL}.id"),
        ([*history(CALL)[:2], *HELLO], f"{IN_CALL}.id"),
        ([*history(CALL), *history(CALL)[2:]], "messages[3].tool_call_id"),
        (history(CALL, tool_calls=[]), "messages[1].content"),
        (history(tool_calls=None), "messages[1].content"),
        (
            [*HELLO, {"role": "tool", "tool_call_id": "c1", "content": "x"}],
            "messages[1].tool_call_id",
        ),
        ([*HELLO, {"role": "tool", "content": "x"}], "messages[1].tool_call_id"),
        ([{"role": "tool", "tool_call_id": "c1"}], "messages[0].content"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user", "content": 7}], "messages[0].content"),
        ([{"role": "user", "content": ["x"]}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "x", "y": 1}]}],
            "messages[0].content",
        ),
        ([{"role": "user", "content": "x", "tool_calls": [CALL]}], "messages[0].tool_calls"),
        ([{"role": "user", "content": "x", "nmae": "y"}], "messages[0].nmae"),
        ([{"role": "user", "content": "x", "name": 1}], "messages[0].name"),
        ([{"role": "assistant"}], "messages[0].content"),
        ([{"role": "assistant", "refusal": "no"}], "messages[0].refusal"),
        (
            [{"role": "assistant", "function_call": {"name": "x", "arguments": "{}"}}],
            "messages[0].function_call",
        ),
        ([{"role": "function", "name": "x", "content": "y"}], "messages[0].role"),
        ([{"role": "User", "content": "y"}], "messages[0].role"),
        ([{"role": ["user"], "content": "y"}], "messages[0].role"),
        ([{"content": "y"}], "messages[0].role"),
        (["x"], "messages[0]"),
        ([None], "messages[0]"),
        ("x", "messages"),
        (None, "messages"),
        ({"role": "user"}, "messages"),
    ],
)
def test_malformed_messages_are_named(post, asked, messages, param):
    status, error = post(messages=messages, tools=[TOOL])
    assert (status, error["param"], error["type"]) == (400, param, "invalid_request_error")
    assert param in error["message"]
    with pytest.raises(IndexError):
        asked()


def test_what_an_answer_had_may_be_sent_back(server, post, asked):
    made = {"role": "assistant", "refusal": None, "audio": None, "function_call": None}
    made |= {"annotations": [], "content": None, "reasoning_content": "음", "name": None}
    result = {"role": "tool", "tool_call_id": "c1", "content": "9-18", "name": "hours"}
    messages = [*HELLO, {**made, "tool_calls": [call(index=0)]}, result, *HELLO]
    assert post(messages=messages, tools=[TOOL]) == (200, None)
    prompt, _ = asked()
    assert prompt.messages == [
        HELLO[0],
        {"role": "assistant", "tool_calls": [CALL], "reasoning_content": "음"},
        result,
        HELLO[0],
    ]
    assert prompt.tools == [TOOL]
    with openai.OpenAI(api_key=TOKEN, base_url=server.url) as client:
        answered = client.chat.completions.create(model=BASE, messages=HELLO, max_tokens=2)
        again = [*HELLO, answered.choices[0].message, *HELLO]
        client.chat.completions.create(model=BASE, messages=again, max_tokens=2)
    assert asked()[0].messages[1] == {"role": "assistant", "content": "가나"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_form_that_is_not_forced_is_reported(server, stream):
    strict = {**TOOL, "function": {**TOOL["function"], "strict": True}}
    given = {"model": BASE, "messages": HELLO, "max_tokens": 2, "stream": stream}
    answer = server.send("POST", "/v1/chat/completions", json={**given, "tools": [TOOL, strict]})
    assert answer.headers["x-ftctl-unforced"] == "tools[1].function.strict"
    assert server.backend.asked[-1][1].tools[1] == strict
    answer = server.send("POST", "/v1/chat/completions", json={**given, "tools": [TOOL]})
    assert "x-ftctl-unforced" not in answer.headers


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (
            {"chat_template_kwargs": {"enable_thinking": False}},
            "chat_template_kwargs.enable_thinking",
        ),
        ({"reasoning_effort": "none"}, "reasoning_effort"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, None),
    ],
)
def test_an_answer_that_may_begin_with_thoughts_all_the_same_is_reported(server, options, named):
    given = {"model": BASE, "messages": HELLO, "max_tokens": 2, **options}
    answer = server.send("POST", "/v1/chat/completions", json=given)
    assert answer.headers.get("x-ftctl-unforced") == named


def test_definitions_of_tools_reach_the_model_in_their_order(post, asked):
    properties = {"zeta": {"type": "string", "default": None}, "alpha": {"enum": ["b", "a"]}}
    parameters = {"type": "object", "required": ["zeta"], "properties": properties}
    described = {"return": {}, "parameters": parameters, "description": None, "name": "f"}
    call = {"function": {"arguments": "{}", "name": "f"}, "type": "function", "id": "c1"}
    messages = history(call | {"index": 0})
    assert post(messages=messages, tools=[{"function": described, "type": "function"}])[0] == 200
    (tool,) = asked()[0].tools
    assert str(asked()[0].messages[1]["tool_calls"]) == str([call])
    assert (list(tool), list(tool["function"])) == (
        ["function", "type"],
        ["return", "parameters", "name"],
    )
    assert str(tool["function"]["parameters"]) == str(parameters)
    assert post(tools=[TOOL], tool_choice="none") == (200, None)
    assert list(asked()[0].tools) == []
