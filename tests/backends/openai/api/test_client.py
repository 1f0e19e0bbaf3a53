"""Whatever a server sends, a call ends in JSON, in a refusal or in doubt, never in a crash."""

import json
import socket
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from backends.openai.api.client import Client
from backends.openai.api.endpoints import Settings
from backends.openai.api.protocol import OutcomeUnknown, Rejected
from backends.openai.jobs.job_matching import ORIGIN, origin_of
from tests.backends.openai.servers.fault_server import KEY, Fault

BODIES = [
    b"",
    b"null",
    b"[1, 2]",
    b'"text"',
    b"{",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"n": ' + b"9" * 5000 + b"}",
    b'{"error": null, "data": 7}',
    b'{"error": "no"}',
    b'{"error": {"message": null, "code": {"a": 1}, "param": [2]}}',
    b'{"detail": [{"loc": ["body", "model"], "msg": "field required"}]}',
    b'{"message": {"deep": true}, "code": 17}',
    b"<html><title>x</title>",
]
CALLS = {
    "list_jobs": lambda client: client.list_jobs(limit=1, after=None, metadata={"a": "b"}),
    "create_job": lambda client: client.create_job({"model": "m", "training_file": "f"}),
    "retrieve_job": lambda client: client.retrieve_job("j"),
    "cancel_job": lambda client: client.cancel_job("j"),
    "list_events": lambda client: client.list_events("j", limit=1, after="x"),
    "list_checkpoints": lambda client: client.list_checkpoints("j"),
    "list_files": lambda client: client.list_files(limit=1, after=None),
    "retrieve_file": lambda client: client.retrieve_file("f"),
    "delete_model": lambda client: client.delete_model("m"),
    "chat": lambda client: client.chat({"model": "m", "messages": []}),
    "stream_chat": lambda client: list(client.stream_chat({"model": "m", "messages": []})),
}


@pytest.fixture
def client(server):
    return Client(Settings(base_url=server.url, api_key=KEY))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("200", "application/json"),
        ("200", "text/html"),
        ("200", "text/event-stream"),
        ("200", ""),
        ("400", "application/json"),
        ("404", "text/html"),
    ],
)
def test_any_body_can_be_read(server, client, status, kind):
    for body in BODIES:
        server.always = Fault(status, body=body, headers={"content-type": kind})
        for call in CALLS.values():
            answer, said = None, ""
            try:
                answer = call(client)
            except (Rejected, OutcomeUnknown) as error:
                said = str(error)
            assert said.isprintable()
            assert len(said) < 700
            json.dumps(answer[0] if isinstance(answer, tuple) else answer)


STREAMS = {
    "cut": (b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', 5000, "broke off"),
    "error": (b'data: {"error":{"message":"overloaded"}}\n\n', None, "overloaded"),
    "no JSON": (b"data: {nope\n\n", None, "not JSON"),
}


@pytest.mark.parametrize(("raw", "length", "said"), STREAMS.values(), ids=STREAMS)
def test_a_stream_that_goes_wrong_is_in_doubt(raw, length, said):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
    head += b"" if length is None else b"content-length: %d\r\n" % length
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection = listening.accept()[0]
            with connection:
                connection.recv(65536)
                connection.sendall(head + b"\r\n" + raw)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        with pytest.raises(OutcomeUnknown, match=said):
            list(CALLS["stream_chat"](Client(Settings(base_url=url, api_key=KEY))))
        thread.join(10)


def test_json_is_json_whatever_its_type_says(server, client):
    found = Fault("200", body='{"id": "m"}', headers={"content-type": "text/html"})
    server.put_fault("GET", "/models/m", found)

    assert client.retrieve_model("m") == {"id": "m"}


def test_a_server_that_does_not_stream_answers_in_one_piece(server, client):
    whole = {"choices": [{"message": {"content": "네"}, "finish_reason": "stop"}]}
    server.put_fault("POST", "/chat/completions", Fault("body", body=whole))

    (piece,) = CALLS["stream_chat"](client)

    assert piece["choices"][0]["delta"] == {"content": "네"}


def test_metadata_nested_without_end_is_no_origin():
    job = {"metadata": {f"{ORIGIN}0": "[" * 100_000}}
    assert origin_of(job) == {}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, (7, 7)),
        ({"retry-after-ms": "250", "retry-after": "7"}, (0.25, 0.25)),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, (0, 0)),
        (
            {"retry-after": format_datetime(datetime.now(UTC) + timedelta(hours=9))},
            (28_800, 32_400),
        ),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_a_pause_that_a_server_asks_for_is_read_in_every_form(server, client, headers, seconds):
    server.put_fault("GET", "/models/m", *[Fault("403", headers=headers)] * 3)

    with pytest.raises(Rejected) as caught:
        client.retrieve_model("m")

    asked_s = caught.value.retry_after_s
    assert asked_s is None if seconds is None else seconds[0] <= asked_s <= seconds[1]
