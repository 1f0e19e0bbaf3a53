"""What is sent to ask a model, and what is tried when a server refuses a part of it."""

import logging
import time

import pytest

from backends.contract.completions import Prompt, Sampling
from backends.contract.errors import BackendError, ModelMissing, PromptRefused
from backends.contract.jobs import BaseModel
from backends.openai.api.retry_policy import RetrySettings
from backends.openai.api.waiting import Waiting
from backends.openai.chat.chat_requests import chat_request
from tests.asking import complete
from tests.backends.openai.openai_helpers import MODEL
from tests.backends.openai.servers.emulator import error_body
from tests.backends.openai.servers.fault_server import Fault

CHAT = ("POST", "/chat/completions")
BASE = BaseModel(reference=MODEL, revision=None, identity=f"model:{MODEL}")
USER = {"role": "user", "content": "몇 시?"}
FUNCTION = {"name": "hours", "arguments": {"z": 1, "a": "월"}}
TOOL = {"type": "function", "function": {"name": "hours", "parameters": {"type": "object"}}}


@pytest.fixture(autouse=True)
def models(server):
    server.models[MODEL] = {"id": MODEL, "object": "model", "created": 1, "owned_by": "org"}


def sent(server):
    return [body for method, path, _, body in server.requests if (method, path) == CHAT]


def request(messages, *, strict, model=MODEL, family=MODEL, tools=(), **sampling):
    prompt = Prompt(messages=messages, tools=tools)
    return chat_request(model, family, prompt, Sampling(**sampling), strict=strict)


def test_a_prompt_holds_what_the_protocol_knows():
    turns = [
        USER,
        {"role": "assistant", "content": "9", "weight": 0, "reasoning_content": "음", "name": "b"},
    ]

    assert request(turns, strict=True)["messages"] == [
        USER,
        {"role": "assistant", "content": "9", "name": "b"},
    ]
    assert request(turns, strict=False)["messages"][1] == {
        "role": "assistant",
        "content": "9",
        "name": "b",
        "reasoning_content": "음",
    }


def test_calls_and_tools_are_sent_in_the_protocol_s_form_and_order():
    call = {"id": "c", "type": "function", "function": FUNCTION}
    turns = [USER, {"role": "assistant", "content": None, "tool_calls": [call]}]

    body = request(turns, strict=True, tools=[TOOL])

    (written,) = body["messages"][1]["tool_calls"]
    assert written["function"]["arguments"] == '{"z": 1, "a": "월"}'
    assert body["tools"] == [TOOL]
    assert turns[1]["tool_calls"][0]["function"] is FUNCTION


@pytest.mark.parametrize(
    ("model", "family", "limit"),
    [
        ("gpt-4.1", "gpt-4.1", "max_tokens"),
        ("ft:o4-mini-2025-04-16:acme::1", "o4-mini-2025-04-16", "max_completion_tokens"),
        ("our-deployment", "gpt-5-2025-08-07", "max_completion_tokens"),
    ],
)
def test_the_limit_has_the_name_that_the_family_knows(model, family, limit):
    body = request([USER], strict=True, model=model, family=family, max_tokens=7)
    assert body[limit] == 7
    assert len({"max_tokens", "max_completion_tokens"} & body.keys()) == 1


@pytest.mark.parametrize("thinking", [False, True])
def test_servers_with_templates_are_told_whether_to_think(server, open_backend, thinking):
    backend = open_backend(kind="compatible")

    complete(backend, BASE, [None], [Prompt(messages=[USER])], Sampling(thinking=thinking))

    assert sent(server)[0]["chat_template_kwargs"] == {"enable_thinking": thinking}
    assert "chat_template_kwargs" not in request([USER], strict=True, thinking=thinking)


def test_a_server_without_the_switch_is_asked_without_it(server, open_backend):
    refusal = Fault("400", body=error_body("Unrecognized argument: chat_template_kwargs"))
    server.put_fault(*CHAT, refusal)
    backend = open_backend(kind="compatible", retry_settings=RetrySettings(at_once=1))
    asked = [Prompt(messages=[USER])] * 3

    assert len(complete(backend, BASE, [None], asked, Sampling())[0]) == 3
    assert ["chat_template_kwargs" in body for body in sent(server)] == [True, *[False] * 3]

    server.put_fault(*CHAT, refusal)
    with pytest.raises(BackendError, match="cannot be told that a model thinks"):
        complete(backend, BASE, [None], asked[:1], Sampling(thinking=True))


TOO_LONG = error_body(
    "This model's maximum context length is 1024 tokens. However, you requested 1174 tokens "
    "(918 in the messages, 256 in the completion).",
    "context_length_exceeded",
)


def test_an_answer_is_cut_where_the_context_ends(server, backend):
    server.put_fault(*CHAT, Fault("400", body=TOO_LONG))

    complete(backend, BASE, [None], [Prompt(messages=[USER])], Sampling(max_tokens=256))

    assert [body.get("max_tokens") for body in sent(server)] == [256, None]


@pytest.mark.parametrize(
    ("body", "remedy"),
    [
        (TOO_LONG, "Shorten"),
        (error_body("The response was filtered.", "content_filter"), "another way"),
    ],
)
def test_a_prompt_that_is_refused_is_named_and_no_fault_of_the_server(
    server, open_backend, body, remedy
):
    backend = open_backend(retry_settings=RetrySettings(at_once=1))
    asked = [Prompt(messages=[USER])] * 3
    server.put_fault(*CHAT, *[Fault("400", body=body)] * 2)

    with pytest.raises(PromptRefused, match="prompt 1 of 3") as caught:
        complete(backend, BASE, [None], asked, Sampling())

    assert remedy in caught.value.remedy
    server.put_fault(*CHAT, *[Fault("400", body=body)] * 2)
    with pytest.raises(PromptRefused):
        list(backend.open_engine(BASE).generate(None, asked[0], Sampling()))


def test_a_limit_under_a_name_that_the_model_does_not_know_is_renamed(server, backend):
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    server.put_fault(*CHAT, Fault("400", body=error_body(said, "unsupported_parameter")))

    complete(backend, BASE, [None], [Prompt(messages=[USER])], Sampling(max_tokens=9))

    assert sent(server)[1]["max_completion_tokens"] == 9
    assert "max_tokens" not in sent(server)[1]


def test_a_streamed_answer_comes_from_the_deployment_too(server, open_backend):
    backend = open_backend(kind="azure", deployments={"ft:cafe": MODEL})

    list(backend.open_engine(BASE).generate("ft:cafe", Prompt(messages=[USER]), Sampling()))

    assert sent(server)[0]["model"] == MODEL


@pytest.mark.parametrize(
    ("kind", "code"),
    [("azure", "DeploymentNotFound"), ("azure", "404"), ("openai", "deploymentnotfound")],
)
def test_a_model_that_nobody_deployed_fails_at_once(server, open_backend, kind, code):
    # It is listed, for it was trained.
    server.models["tuned"] = {"id": "tuned", "object": "model"}
    said = error_body("The API deployment for this resource does not exist.", code)
    server.put_fault(*CHAT, Fault("404", body=said))
    backend = open_backend(kind=kind, retry_settings=RetrySettings(pause_s=60.0))

    with pytest.raises(ModelMissing) as caught:
        complete(backend, BASE, ["tuned"], [Prompt(messages=[USER])], Sampling())

    assert "deployments: {'tuned': DEPLOYMENT}" in caught.value.remedy
    assert len(server.requests) == 1


def test_a_wrong_address_is_no_missing_deployment(server, open_backend):
    server.put_fault(*CHAT, Fault("404", body=error_body("Resource not found", "404")))

    with pytest.raises(BackendError, match="does not know this address") as caught:
        complete(open_backend(kind="azure"), BASE, ["t"], [Prompt(messages=[USER])], Sampling())

    assert not isinstance(caught.value, ModelMissing)
    assert "/openai/v1/" in caught.value.remedy


def test_one_failure_does_not_wait_for_the_patience_of_others(server, open_backend):
    # The first request is repeated, the second one fails for good.
    backend = open_backend(retry_settings=RetrySettings(pause_s=0.05, total_s=60.0, at_once=2))
    slow = error_body("loading", "server_error")
    server.put_fault(*CHAT, Fault("500", body=slow), Fault("403"), *[Fault("500", body=slow)] * 9)

    with pytest.raises(BackendError, match="HTTP 403"):
        complete(backend, BASE, [None], [Prompt(messages=[USER])] * 2, Sampling())


def test_long_waits_say_once_what_they_wait_for(caplog, monkeypatch):
    slept = []
    monkeypatch.setattr("backends.openai.api.waiting.time.sleep", slept.append)
    waiting = Waiting()

    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            waiting.sleep(2.0, "x (http://x) to load the model m", most_s=300)
        waiting.sleep(5.0, "something short")
        waiting.sleep(0.0, "nothing")
        waiting.sleep(120.0, "x (http://x), which limits the rate of requests")

    assert slept == [*[2.0] * 6, 5.0, 120.0]
    assert [record.getMessage() for record in caplog.records] == [
        "waiting for x (http://x) to load the model m (up to 300 s)",
        "waiting for x (http://x), which limits the rate of requests",
    ]


def test_a_call_that_takes_long_says_so(caplog):
    waiting = Waiting()
    with caplog.at_level(logging.WARNING):
        with waiting.during("an answer of h", after_s=0.01):
            time.sleep(0.2)
        with waiting.during("something quick"):
            pass
    assert [record.getMessage() for record in caplog.records] == ["waiting for an answer of h"]
