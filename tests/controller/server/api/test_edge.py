"""Who may ask at all, and what nonsense gets for an answer."""

import json

import openai
import pytest

from controller.server.limits import Limits
from tests.controller.server.serve_helpers import BASE, TOKEN, Trainer, refused, serving, upload


@pytest.fixture
def http(server):
    return server.send


@pytest.mark.parametrize("token", ["wrong", "x", TOKEN + "x", TOKEN[:-1]])
@pytest.mark.parametrize("path", ["/models", "/files", "/fine_tuning/jobs", "/nowhere"])
def test_without_the_token_nothing_is_told(server, token, path):
    with (
        openai.OpenAI(api_key=token, base_url=server.url, max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.get(path, cast_to=object)
    assert caught.value.code == "invalid_api_key"
    assert TOKEN not in str(caught.value)


def test_a_missing_token_is_asked_for(http):
    strange = http("GET", "/v1/models", headers={"authorization": "Bearer é".encode()})
    assert strange.status_code == 401
    answer = http("GET", "/v1/models", token=None)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "didn't provide" in answer.json()["error"]["message"]


def test_a_large_body_with_a_bad_token_still_gets_its_answer(server):
    with openai.OpenAI(api_key="wrong", base_url=server.url, max_retries=0) as client:
        assert refused(upload, client, b"x" * 20_000_000) == (401, "invalid_api_key", None)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "Could not parse the JSON body"),
        (b"", "Missing required parameter: 'model'"),
        (b"[]", "Invalid"),
        (b'"x"', "Invalid"),
        (b"\xff\xfe", "Could not parse"),
        (b"[" * 100_000, "Could not parse"),
        (b'{"model": NaN}', "Invalid 'model'"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/fine_tuning/jobs", "/v1/chat/completions"])
def test_a_bad_body_is_refused(http, path, body, said):
    answer = http("POST", path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert said in error["message"]
    assert error["type"] == "invalid_request_error"


def test_an_oversized_body_is_refused_with_and_without_its_length(server, http):
    messages = [{"role": "user", "content": "x" * (9 << 20)}]
    found = refused(server.client.chat.completions.create, model=BASE, messages=messages)
    assert found == (413, "request_too_large", None)
    body = json.dumps({"model": BASE, "messages": messages}).encode()
    pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
    assert http("POST", "/v1/chat/completions", content=pieces).status_code == 413


def test_unknown_addresses_and_methods(http):
    for method, path, status in [
        ("GET", "/", 404),
        ("GET", "/v1/nope", 404),
        ("PUT", "/v1/files", 405),
        ("DELETE", "/v1/fine_tuning/jobs/x", 405),
        ("GET", "/v1/../../etc/passwd", 404),
    ]:
        answer = http(method, path)
        assert answer.status_code == status, path
        assert answer.json()["error"]["code"] == "unknown_url"
        assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=x", "limit=99999999999", "limit=٣"]
)
@pytest.mark.parametrize("path", ["files", "fine_tuning/jobs"])
def test_bad_limits(http, path, query):
    answer = http("GET", f"/v1/{path}?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "limit")


def test_bad_order_and_cursor(http):
    assert http("GET", "/v1/files?order=up").json()["error"]["param"] == "order"
    assert http("GET", "/v1/files?after=file-nope").json()["error"]["param"] == "after"


def test_a_full_queue_says_when_to_come_back(tmp_path):
    limits = Limits(open_jobs=2, poll_s=0.02)
    with serving(tmp_path, Trainer(tmp_path / "s", script=["running"]), limits) as server:
        file = upload(server.client)
        for _ in range(2):
            server.client.fine_tuning.jobs.create(model=BASE, training_file=file.id)
        with pytest.raises(openai.RateLimitError) as caught:
            server.client.fine_tuning.jobs.create(model=BASE, training_file=file.id)
        assert caught.value.response.headers["retry-after"] == "30"
        assert len(server.client.fine_tuning.jobs.list().data) == 2


def test_no_more_runs_at_once_than_allowed(tmp_path, eventually):
    limits = Limits(runs=2, poll_s=0.02)
    most = 0

    class Counting(Trainer):
        def observe(self, job_ids):
            nonlocal most
            most = max(most, len(list(job_ids)))
            return super().observe(job_ids)

    with serving(tmp_path, Counting(tmp_path / "s"), limits) as server:
        file = upload(server.client)
        for _ in range(6):
            server.client.fine_tuning.jobs.create(model=BASE, training_file=file.id)
        jobs = server.client.fine_tuning.jobs
        eventually(lambda: all(job.status == "succeeded" for job in jobs.list()))
    assert 1 <= most <= 2


def test_a_defect_is_an_error_of_the_server(tmp_path, caplog):
    class Broken(Trainer):
        def open_engine(self, *_):
            raise ZeroDivisionError

    with serving(tmp_path, Broken(tmp_path / "s")) as server:
        chat = server.client.chat.completions
        found = refused(chat.create, model=BASE, messages=[{"role": "user", "content": "?"}])
        assert found == (500, "internal_error", None)
        assert server.client.models.retrieve(BASE).id == BASE
    assert "ZeroDivisionError" in caplog.text
