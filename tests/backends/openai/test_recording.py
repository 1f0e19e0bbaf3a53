"""Prices of answers, stored completions, and log-probabilities, at a server."""

import pytest

from backends.contract.backend import Endpoint
from backends.contract.completions import Prompt, Sampling
from backends.contract.errors import BackendError, NothingStored
from backends.contract.jobs import BaseModel
from backends.contract.recording import AnswerPrice
from backends.openai.backend import OpenAIBackend
from backends.openai.prices import prices_at
from tests.asking import complete
from tests.backends.openai.openai_helpers import MODEL
from tests.backends.openai.servers.emulator import error_body
from tests.backends.openai.servers.fault_server import Fault

BASE = BaseModel(reference=MODEL, revision=None, identity=f"model:{MODEL}")
TUNED = f"ft:{MODEL}:acme:triage:AbC"
LIST = ("GET", "/chat/completions")
QUESTION = [{"role": "user", "content": "환불은 어떻게 하나요?"}]


def prompt(**changes):
    return Prompt(messages=QUESTION, reference={"role": "assistant", "content": "환불"}, **changes)


# --- prices -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "base", "price"),
    [
        (TUNED, MODEL, (0.3, 1.2)),
        ("ft:gpt-4.1-2025-04-14:acme::x", "gpt-4.1-2025-04-14", (3.0, 12.0)),
        ("ft:gpt-4.1:acme::x", "gpt-4.1", (3.0, 12.0)),
        # A fine-tune that is declared as a base model of its own.
        (TUNED, TUNED, (0.3, 1.2)),
        ("ft:o4-mini-2025-04-16:acme::x", "o4-mini-2025-04-16", (4.0, 16.0)),
        # The table has no prices of base models themselves, which cost less.
        (MODEL, MODEL, None),
        ("ft:gpt-9:acme::x", "gpt-9", None),
    ],
)
def test_the_shipped_prices_are_those_of_fine_tuned_models(model, base, price):
    found = prices_at({}, official=True).answer_price(model, base)
    expected = price and (AnswerPrice(input=price[0], output=price[1]), "prices of 2025-11")
    assert found == expected
    assert prices_at({}, official=False).answer_price(model, base) is None


@pytest.mark.parametrize("name", [TUNED, MODEL])
def test_a_declared_price_counts_before_the_shipped_one(name):
    own = AnswerPrice(input=9.0, output=1.0)
    for official in (True, False):
        table = prices_at({}, {name: own}, official=official)
        assert table.answer_price(TUNED, MODEL) == (own, "prices of ftctl.yaml")


def test_an_estimate_needs_no_key_and_no_network(tmp_path):
    endpoint = Endpoint(name="default", base_url="https://api.openai.com/v1")
    backend = OpenAIBackend(tmp_path, endpoint, environment={})
    found = backend.estimate_answers(BASE, TUNED, [prompt()] * 10, Sampling(max_tokens=16))
    assert found.basis == "prices of 2025-11"
    # 10 answers like the reference, and the most: 10 answers of 16 tokens.
    assert found.completion_tokens == (10 * 3, 160)
    assert found.prompt_tokens == 10 * 14
    assert found.usd == pytest.approx(((140 * 0.3 + 30 * 1.2) / 1e6, (140 * 0.3 + 160 * 1.2) / 1e6))


def test_without_a_reference_an_answer_has_a_token_at_least(backend):
    asked = Prompt(messages=QUESTION)
    found = backend.estimate_answers(BASE, TUNED, [asked], Sampling(max_tokens=7))
    assert (found.completion_tokens, found.usd) == ((1, 7), None)


# --- stored completions -----------------------------------------------------------------------


@pytest.fixture
def storing(server):
    server.stored = {}
    for number in range(250):
        server.store(
            TUNED if number % 2 else "gpt-4o", QUESTION, f"답 {number}", metadata={"a": "b"}
        )
    return server


def test_all_pages_are_read_and_filters_are_sent(storing, backend):
    found = list(backend.stored_completions(TUNED, {"a": "b"}))
    assert len(found) == 125
    assert {one.model for one in found} == {TUNED}
    assert found[0].answer == {"role": "assistant", "content": "답 1"}
    sent = [query for method, path, query, _ in storing.requests if (method, path) == LIST]
    assert [query.get("after") for query in sent] == [None, "chatcmpl-0199"]
    assert {query["model"] for query in sent} == {TUNED}
    assert {query["metadata[a]"] for query in sent} == {"b"}
    assert len(list(backend.stored_completions(None, {}))) == 250
    assert list(backend.stored_completions(TUNED, {"a": "c"})) == []


def test_a_server_that_ignores_the_filters_is_compared_again(storing, backend):
    page = {"object": "list", "has_more": False}
    storing.put_fault(*LIST, Fault("body", body=page | {"data": list(storing.stored.values())}))
    assert len(list(backend.stored_completions(TUNED, {"a": "b"}))) == 125


def test_the_messages_before_an_answer(storing, backend):
    call = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    parts = [{"type": "text", "text": "보세요"}]
    asked = [
        {"role": "system", "content": "짧게."},
        {"role": "user", "content": None, "content_parts": parts},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "없음", "tool_call_id": "call_1"},
    ]
    storing.store(
        TUNED, asked, "없습니다", tools=[{"type": "function", "function": {"name": "find"}}]
    )
    last = list(backend.stored_completions(TUNED, {}))[-1]
    assert last.tools == ({"type": "function", "function": {"name": "find"}},)
    assert backend.stored_messages(last.id) == (
        {"role": "system", "content": "짧게."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "없음", "tool_call_id": "call_1"},
    )
    assert backend.stored_messages("chatcmpl-gone") == ()


@pytest.mark.parametrize("status", ["404", "405"])
def test_a_service_without_stored_completions_says_so(server, backend, status):
    server.put_fault(*LIST, *[Fault(status)] * 5)
    with pytest.raises(NothingStored) as caught:
        list(backend.stored_completions(TUNED, {}))
    assert "test (" in caught.value.message


def test_a_key_without_the_right_is_no_missing_service(server, backend):
    server.put_fault(*LIST, *[Fault("403", body=error_body("no"))] * 5)
    with pytest.raises(BackendError) as caught:
        list(backend.stored_completions(TUNED, {}))
    assert not isinstance(caught.value, NothingStored)


# --- log-probabilities ------------------------------------------------------------------------


@pytest.fixture
def labelling(server):
    server.models[MODEL] = {"id": MODEL}
    server.answer = lambda _: "환불"
    server.gives_logprobs = True
    return server


def sent(server):
    return [body for method, _, _, body in server.requests if method == "POST"]


def test_log_probabilities_are_asked_for_and_kept(labelling, backend):
    ((answer,),) = complete(backend, BASE, [None], [prompt(logprobs=5)], Sampling())
    (token,) = answer.logprobs
    assert token["token"] == "환불"
    assert token["top"] == [["환불", -0.0123], [r"\xed\x99", -7.25, [0xED, 0x99]]]
    assert (sent(labelling)[0]["logprobs"], sent(labelling)[0]["top_logprobs"]) == (True, 5)


def test_they_are_not_asked_for_without_a_reason(labelling, backend):
    ((answer,),) = complete(backend, BASE, [None], [prompt()], Sampling())
    assert answer.logprobs == ()
    assert "logprobs" not in sent(labelling)[0]


@pytest.mark.parametrize("kind", ["openai", "compatible"])
def test_a_refusal_is_asked_once_without_and_remembered(labelling, open_backend, kind):
    labelling.gives_logprobs = False
    backend = open_backend(kind=kind)
    for _ in range(2):
        ((answer,),) = complete(backend, BASE, [None], [prompt(logprobs=5)], Sampling())
        assert (answer.text, answer.logprobs) == ("환불", ())
    assert ["logprobs" in body for body in sent(labelling)] == [True, False, False]
    # Another field is not taken away with them.
    assert all(("chat_template_kwargs" in body) for body in sent(labelling))


def test_a_server_that_does_not_name_the_field_is_asked_without_as_well(labelling, open_backend):
    backend = open_backend(kind="openai")
    refusal = Fault("400", body=error_body("unknown field"))
    labelling.put_fault("POST", "/chat/completions", refusal, refusal)
    ((answer,),) = complete(backend, BASE, [None], [prompt(logprobs=5)], Sampling())
    assert answer.text == "환불"
    fields = [
        [key in body for key in ("chat_template_kwargs", "logprobs")] for body in sent(labelling)
    ]
    assert fields == [[True, True], [False, True], [False, False]]
