"""Answers: order, concurrency, pace, missing models, streams."""

import time
from collections.abc import Sequence

import pytest

from backends.contract.completions import Prompt, Sampling
from backends.contract.errors import BackendError, ModelMissing, PromptRefused
from backends.contract.jobs import BaseModel
from backends.openai.api.retry_policy import RetrySettings
from backends.openai.chat.rate_limiter import reset_seconds
from tests.asking import complete
from tests.backends.openai.openai_helpers import MODEL
from tests.backends.openai.servers.emulator import error_body
from tests.backends.openai.servers.fault_server import Fault
from tests.servers.chat_server import ChatServer

CHAT = ("POST", "/chat/completions")
BASE = BaseModel(reference=MODEL, revision=None, identity=f"model:{MODEL}")
TUNED = f"ft:{MODEL}:org:cafe:1"


@pytest.fixture(autouse=True)
def models(server):
    for name in (MODEL, TUNED):
        server.models[name] = {"id": name, "object": "model", "created": 1, "owned_by": "org"}
    server.answer = lambda body: f"{body['model']}|{body['messages'][-1]['content']}"


def prompts(number):
    return [Prompt(messages=[{"role": "user", "content": f"q{n}"}]) for n in range(number)]


def test_every_model_answers_every_prompt_in_order(backend):
    answers = complete(backend, BASE, [TUNED, None], prompts(9), Sampling())

    assert [[one.text for one in each] for each in answers] == [
        [f"{model}|q{n}" for n in range(9)] for model in (TUNED, MODEL)
    ]
    assert answers[0][0].finish_reason == "stop"
    assert answers[0][0].reference_loss is None


def test_no_more_requests_than_allowed_are_under_way(server, backend):
    server.hold_s = 0.02

    complete(backend, BASE, [TUNED], prompts(12), Sampling())

    assert 2 <= server.most_at_once <= 4


def test_answers_come_when_they_end_with_their_tokens_and_seconds(server, backend):
    server.hold_s = 0.02
    answers = list(backend.complete(BASE, [TUNED], prompts(3), Sampling()))

    assert sorted(answer.prompt for answer in answers) == [0, 1, 2]
    for answer in answers:
        given = answer.completion
        assert (given.prompt_tokens, given.completion_tokens) == (5, 3)
        assert 0.02 <= given.latency_s < 30


def test_the_seconds_are_those_of_the_successful_request(server, open_backend):
    backend = open_backend(retry_settings=RetrySettings(pause_s=0.3))
    server.put_fault(*CHAT, Fault("429", headers={"retry-after": "1"}))

    (answer,) = backend.complete(BASE, [TUNED], prompts(1), Sampling())

    assert answer.completion.latency_s < 1


class FromDisk(Sequence):
    """Prompts that are counted when they are read."""

    def __init__(self, number):
        self.number, self.read = number, 0

    def __len__(self):
        return self.number

    def __getitem__(self, place):
        self.read += 1
        return Prompt(messages=[{"role": "user", "content": f"q{place}"}])


def test_few_prompts_are_read_ahead_and_closing_cancels_what_is_under_way(open_backend):
    with ChatServer() as chats:
        backend = open_backend(url=chats.url, kind="compatible")
        asked = FromDisk(15_000)
        answers = backend.complete(BASE, [TUNED, None], asked, Sampling())
        assert asked.read == 0
        next(answers)
        assert asked.read <= 2 * 4
        # The requests that are under way would take a minute.
        chats.delay_s = 60.0
        for _ in range(chats.count - 1):
            next(answers, None)
            if chats.count > 20:
                break
        started = time.monotonic()
        answers.close()
        assert time.monotonic() - started < 10
        assert asked.read < 100


def test_what_is_skipped_is_not_asked_and_keeps_its_place(server, backend):
    skip = {(0, 0), (0, 2), (1, 1)}
    answers = list(backend.complete(BASE, [TUNED, None], prompts(3), Sampling(), skip))

    assert {(one.model, one.prompt): one.completion.text for one in answers} == {
        (0, 1): f"{TUNED}|q1",
        (1, 0): f"{MODEL}|q0",
        (1, 2): f"{MODEL}|q2",
    }
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("refused", "message"),
    [([7], "prompt 8 of 40: "), ([7, 3, 30], r"prompt 4 of 40 \(and 2 more\): ")],
)
def test_refused_prompts_lose_no_other_answers(open_backend, refused, message):
    with ChatServer() as chats:
        chats.filtered = {f"q{number}" for number in refused}
        backend = open_backend(url=chats.url, kind="compatible")
        given = []
        answers = backend.complete(BASE, [TUNED], prompts(40), Sampling())
        with pytest.raises(PromptRefused, match=message):
            given.extend(answer.prompt for answer in answers)
        assert sorted(given) == [number for number in range(40) if number not in refused]


def test_a_server_that_refuses_everything_is_not_asked_for_everything(open_backend):
    with ChatServer() as chats:
        chats.filtered = {f"q{number}" for number in range(1000)}
        backend = open_backend(url=chats.url, kind="compatible")
        with pytest.raises(PromptRefused, match=r"prompt 1 of 1000 \(and \d+ more\): "):
            list(backend.complete(BASE, [TUNED], prompts(1000), Sampling()))
        assert chats.count < 100


def test_answers_that_ended_before_a_failure_are_yielded(server, open_backend):
    backend = open_backend(retry_settings=RetrySettings(at_once=1))
    ok = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
    server.put_fault(*CHAT, Fault("body", body=ok), Fault("body", body=ok), Fault("403"))
    answers = backend.complete(BASE, [TUNED], prompts(9), Sampling())

    assert [next(answers).prompt, next(answers).prompt] == [0, 1]
    with pytest.raises(BackendError, match="HTTP 403"):
        next(answers)
    assert len(server.requests) <= 4


def test_sampling_reaches_the_server(server, backend):
    sampling = Sampling(stop=("\n", "a", "b", "c", "q"), max_tokens=7, temperature=0.5, seed=3)

    answers = complete(backend, BASE, [TUNED], prompts(1), sampling)

    sent = server.requests[-1][3]
    assert {key: sent[key] for key in ("max_tokens", "temperature", "seed", "stop")} == {
        "max_tokens": 7,
        "temperature": 0.5,
        "seed": 3,
        "stop": ["\n", "a", "b", "c"],
    }
    assert answers[0][0].text == f"{TUNED}|"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("429", headers={"retry-after": "0.05"}),
        Fault("429"),
        Fault("500"),
        Fault("drop"),
        Fault("html"),
        Fault("body", body={"error": {}}),
    ],
)
def test_a_passing_fault_is_waited_out(server, backend, fault):
    server.put_fault(*CHAT, fault)

    assert complete(backend, BASE, [TUNED], prompts(3), Sampling())[0][2].text == f"{TUNED}|q2"


def test_an_empty_purse_is_not_waited_for(server, open_backend):
    # A single pause would be longer than everything else, the import of the SDK included.
    backend = open_backend(retry_settings=RetrySettings(pause_s=60.0))
    body = error_body("You exceeded your current quota", "insufficient_quota")
    server.put_fault(*CHAT, Fault("429", body=body))
    started = time.monotonic()

    with pytest.raises(BackendError, match="no credit left"):
        complete(backend, BASE, [TUNED], prompts(1), Sampling())

    assert time.monotonic() - started < 30
    assert [request[:2] for request in server.requests].count(CHAT) == 1


def test_rate_limit_headers_hold_the_next_request_back(server, backend):
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "length"}]}
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "300ms"}
    server.put_fault(*CHAT, Fault("200", body=body, headers=headers))
    started = time.monotonic()

    first = complete(backend, BASE, [TUNED], prompts(1), Sampling())
    complete(backend, BASE, [TUNED], prompts(1), Sampling())

    assert first[0][0].finish_reason == "length"
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("6m0s", 360), ("120ms", 0.12), ("1h2m3.5s", 3723.5), ("7", 7), ("", 0), ("?", 0)],
)
def test_reset_durations(text, seconds):
    assert reset_seconds(text) == pytest.approx(seconds)


def test_a_missing_model_is_named_and_a_fresh_one_is_waited_for(server, backend, open_backend):
    with pytest.raises(ModelMissing, match="ft:gone"):
        complete(backend, BASE, ["ft:gone"], prompts(2), Sampling())

    missing = error_body("The model does not exist", "model_not_found")
    server.put_fault(*CHAT, Fault("404", body=missing), Fault("404", body=missing))
    assert complete(backend, BASE, [TUNED], prompts(1), Sampling())[0][0].text == f"{TUNED}|q0"

    with pytest.raises(ModelMissing) as caught:
        complete(open_backend(kind="azure"), BASE, ["ft:gone"], prompts(1), Sampling())
    assert caught.value.remedy.startswith("Deploy it in Azure, and name the deployment in ftctl")


def of_model(name):
    return BaseModel(reference=name, revision=None, identity=f"model:{name}")


def test_a_base_model_that_is_not_found_is_not_waited_for(server, open_backend):
    # It is listed, for it can be trained, and cannot be asked.
    server.models["trained-only"] = {"id": "trained-only", "object": "model"}
    missing = error_body("The model does not exist", "model_not_found")
    server.put_fault(*CHAT, *[Fault("404", body=missing)] * 50)

    with pytest.raises(ModelMissing, match="trained-only"):
        complete(open_backend(), of_model("trained-only"), [None], prompts(1), Sampling())

    assert len(server.requests) == 1


def test_a_model_without_a_deployment_is_not_waited_for(server, open_backend):
    body = error_body("The API deployment for this resource does not exist", "DeploymentNotFound")
    server.put_fault(*CHAT, *[Fault("404", body=body)] * 50)

    with pytest.raises(ModelMissing) as caught:
        complete(open_backend(kind="azure"), BASE, [TUNED], prompts(1), Sampling())

    assert len(server.requests) == 1
    assert caught.value.remedy.startswith("Deploy it in Azure")


def test_a_base_model_answers_unless_the_server_says_that_it_has_none(server, open_backend):
    server.models["here"] = {"id": "here", "object": "model"}

    assert open_backend().answers(of_model("here"))
    assert not open_backend().answers(of_model("gone"))
    assert open_backend().answers(of_model("here"))
    assert not open_backend().answers(of_model("gone"))

    assert [one[1] for one in server.requests] == ["/models/here", "/models/gone"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("403"),
        Fault("404", body={"detail": "Not Found"}),
        Fault("404", body=error_body("Invalid URL (GET /v1/models/doubt)", "unknown_url")),
        Fault("html"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.body}",
)
def test_a_doubt_leaves_no_base_model_out_and_is_not_kept(server, open_backend, fault):
    server.put_fault("GET", "/models/doubt", fault)

    assert open_backend().answers(of_model("doubt"))
    assert not open_backend().answers(of_model("doubt"))


def test_without_key_or_server_a_base_model_is_not_left_out(open_backend):
    assert open_backend(key="").answers(of_model("x"))
    assert open_backend(url="http://127.0.0.1:9/v1").answers(of_model("x"))


def test_at_azure_a_base_model_answers_through_its_deployment(server, open_backend):
    backend = open_backend(kind="azure", deployments={"gpt": "our-gpt"})

    assert backend.answers(of_model("gpt"))
    assert not backend.answers(of_model("gpt-other"))
    assert not server.requests


def test_a_deployment_answers_for_its_model(open_backend):
    backend = open_backend(kind="azure", deployments={"ft:cafe": TUNED})
    answers = complete(backend, BASE, ["ft:cafe"], prompts(1), Sampling())
    assert answers[0][0].text == f"{TUNED}|q0"


def test_tool_calls_are_an_answer(server, backend):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"content": None, "tool_calls": [call]}
    body = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    server.put_fault(*CHAT, Fault("body", body=body))

    answer = complete(backend, BASE, [TUNED], prompts(1), Sampling())[0][0]

    assert (answer.text, answer.tool_calls, answer.finish_reason) == ("", (call,), "stop")


def test_an_engine_streams(backend):
    engine = backend.open_engine(BASE)

    chunks = list(engine.generate(None, prompts(1)[0], Sampling()))
    engine.close()

    assert "".join(chunk.text for chunk in chunks) == f"{MODEL}|q0"
    last = chunks[-1]
    assert (last.finish_reason, last.prompt_tokens, last.completion_tokens) == ("stop", 5, 3)
    with pytest.raises(ModelMissing):
        list(engine.generate("ft:gone", prompts(1)[0], Sampling()))


def test_models_are_deleted_only_by_name(server, backend):
    backend.delete(TUNED)

    assert set(server.models) == {MODEL}
    with pytest.raises(ModelMissing, match="has no model"):
        backend.delete(TUNED)
