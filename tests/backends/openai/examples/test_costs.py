"""Token counts, epochs, prices, estimates and what a job really cost."""

import json

import pytest

from backends.contract.backend import Endpoint
from backends.contract.jobs import BaseModel, Estimate
from backends.openai.api.client import Client
from backends.openai.api.endpoints import Settings
from backends.openai.backend import OpenAIBackend
from backends.openai.examples.tokens import counter, encoding_name
from backends.openai.jobs.job_listing import JobList
from backends.openai.jobs.job_poller import JobPoller
from backends.openai.jobs.submission_log import SubmissionLog
from backends.openai.prices import auto_epochs, base_name, epoch_range, prices_at, read_prices
from tests.backends.openai.openai_helpers import MODEL, write_request
from tests.backends.openai.servers.fault_server import KEY


@pytest.fixture
def official(tmp_path):
    return OpenAIBackend(tmp_path / "state", Endpoint(name="default"), environment={})


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("gpt-4.1-2025-04-14", "o200k_base"),
        ("ft:gpt-4.1-mini-2025-04-14:org:cafe:1", "o200k_base"),
        ("gpt-3.5-turbo-0125", "cl100k_base"),
        ("ft:gpt-3.5-turbo-0125:org::1", "cl100k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("davinci-002", "cl100k_base"),
        ("unknown", "o200k_base"),
    ],
)
def test_encodings(model, encoding):
    assert encoding_name(model) == encoding


def test_counting_an_example():
    count = counter(MODEL)
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]

    # Three around the example, three around each message, and one for each of four texts.
    assert count({"messages": messages}) == 3 + 2 * 3 + 4
    named = [messages[0] | {"name": "ann"}, messages[1] | {"weight": 0}]
    assert count({"messages": named}) == 3 + 2 * 3 + 4 + 2
    assert count({"messages": messages, "tools": [{"type": "function"}]}) > 13
    pair = {
        "input": {"messages": messages[:1]},
        "preferred_output": messages[1:],
        "non_preferred_output": messages[1:],
    }
    assert count(pair) == 3 + 3 * 3 + 6
    assert count({"messages": [{"role": "assistant", "content": None, "tool_calls": []}]}) > 0


def test_special_tokens_and_long_texts_are_plain_text():
    count = counter(MODEL)

    assert count({"messages": [{"role": "user", "content": "<|endoftext|>"}]}) > 7
    long = "word and " * 200_000
    assert count({"messages": [{"role": "user", "content": long}]}) == pytest.approx(
        400_000, rel=0.01
    )


@pytest.mark.parametrize(
    ("examples", "epochs"), [(10, 10), (1, 25), (34, 3), (8333, 3), (10_000, 2), (50_000, 1)]
)
def test_the_usual_number_of_epochs(examples, epochs):
    assert auto_epochs(examples) == epochs


def test_epochs_as_a_range():
    assert epoch_range(4, 10) == (4, 4)
    assert epoch_range("auto", 10) == (3, 10)
    assert epoch_range("auto", 50_000) == (1, 3)


def test_prices_have_a_date_and_know_aliases():
    table = read_prices()

    assert table.as_of == "2025-11"
    assert table.price("gpt-4o-mini").training_usd == 3.0
    assert table.price(f"ft:{MODEL}:org:cafe:1").training_usd == 3.0
    assert table.price("gpt-4.1").training_usd == 25.0
    assert table.price("gpt-6-luna") is None
    assert table.shutdown_date("gpt-4.1-mini-2025-04-14") == "2027-01-14"
    assert base_name("ft:a:b:c:d") == "a"


def test_an_estimate_is_tokens_times_epochs_times_price(official, make_request):
    request = make_request()
    lines = request.train.read_text("utf-8").splitlines()
    tokens = sum(map(counter(MODEL), map(json.loads, lines)))

    found = official.estimate(request, 12, None)

    assert found.usd[0] == pytest.approx(tokens * 3 * 3.0 / 1e6)
    assert found.usd[1] == pytest.approx(found.usd[0] * 1.1)
    assert official.estimate(request, 12, tokens) == found
    request.train.touch()
    assert official.estimate(request, 12, None) == found


@pytest.mark.parametrize(
    "damaged",
    [b"", b"-5\n", b"true", b"1e400", b"2.5", b"null", b"[1]", b'"7"', b"\xff", b"[" * 99999],
)
def test_damaged_counts_make_no_job_cheaper(official, make_request, tmp_path, damaged):
    request = make_request(hyperparameters={"n_epochs": 3})
    known = official.estimate(request, 12, None)
    [file] = (tmp_path / "state").rglob("tokens/*.json")
    file.write_bytes(damaged)
    assert official.estimate(request, 12, None) == known
    assert int(file.read_bytes()) > 0


def test_ftctl_yaml_may_know_prices_better(tmp_path):
    here = Endpoint(name="default", prices={MODEL: 6.0})
    elsewhere = Endpoint(name="own", base_url="http://gpu.internal/v1", prices={MODEL: 0.5})
    request = write_request(tmp_path / "data")

    own_price = OpenAIBackend(tmp_path, here, environment={}).estimate(request, 12, 1000)
    their_price = OpenAIBackend(tmp_path, elsewhere, environment={}).estimate(request, 12, 1000)

    assert own_price.usd[0] == pytest.approx(1000 * 3 * 6.0 / 1e6)
    assert their_price.usd[0] == pytest.approx(1000 * 3 * 0.5 / 1e6)
    assert own_price.basis == "prices of 2025-11 and ftctl.yaml"


def test_steps_are_known_when_nothing_is_auto(official, make_request):
    settings = {"n_epochs": 2, "batch_size": 5, "learning_rate_multiplier": "auto"}

    assert official.estimate(make_request(hyperparameters=settings), 12, 100).steps == 6


def test_what_is_not_known_is_not_guessed(tmp_path, official, backend):
    unknown = BaseModel(reference="gpt-6-luna", revision=None, identity="model:gpt-6-luna")
    request = write_request(tmp_path / "data", base_model=unknown)
    elsewhere = OpenAIBackend(tmp_path, Endpoint(name="x", base_url="http://a/v1"), environment={})

    assert official.estimate(request, 12, 100).usd is None
    assert elsewhere.estimate(write_request(tmp_path / "data"), 12, 100) == Estimate()
    assert backend.estimate(request, 12, None).usd == (0.0, 0.0)


def test_a_finished_job_at_the_service_has_a_real_cost(server, backend, make_request, tmp_path):
    job = backend.submit(make_request())
    server.finish(job.id, trained_tokens=2_000_000)
    client = Client(Settings(base_url=server.url, api_key=KEY))
    at_the_service = JobPoller(
        client=client,
        prices=prices_at({}, official=True),
        notes=SubmissionLog(tmp_path),
        jobs=JobList(client, for_s=0.0),
        every_s=0.0,
    )

    facts = at_the_service.observe([job.id])[job.id].result.facts

    assert (facts["usd"], facts["prices_as_of"]) == (6.0, "2025-11")
    assert facts["shutdown_date"] == "2027-01-14"
