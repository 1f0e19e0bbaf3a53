"""Half requests, slow clients, too many of them, and the end of the server."""

import json
import logging
import resource
import socket
import threading
import time
from contextlib import ExitStack, suppress

import openai
import pytest

from controller.server.api import listener
from controller.server.api.quiet_log import Sparing, on_loop_error
from controller.server.limits import Limits
from tests.controller.server.chat_helpers import Talking, ask
from tests.controller.server.serve_helpers import BASE, TOKEN, Trainer, serving

LIMITS = Limits(
    poll_s=0.02, head_s=0.4, pause_s=0.4, connections=8, stalled_s=0.4, slowest_bytes_s=1 << 20
)
HEAD = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + TOKEN.encode() + b"\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("connections")
    with serving(root, Trainer(root / "s"), LIMITS) as served:
        yield served


def connect(server):
    host, _, port = server.url.removesuffix("/v1").removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.settimeout(10)
    return connection


def answer(connection):
    """Read until the server closes; return the status, the headers and the body."""
    text = b""
    # A connection that a client still writes to is closed by a reset, after the answer.
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    lines = head.decode().splitlines()
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]) if lines else None, headers, body


def code(body):
    return json.loads(body)["error"]["code"]


@pytest.mark.parametrize("begun", [b"", b"G", HEAD])
def test_a_head_that_never_ends_is_given_up(server, begun):
    with connect(server) as connection:
        connection.sendall(begun)
        started = time.monotonic()
        status, headers, body = answer(connection)
        assert (status, code(body)) == (408, "request_timeout")
        assert headers["connection"] == "close"
        assert time.monotonic() - started < 5


def test_a_head_in_single_bytes_is_given_up(server):
    with connect(server) as connection:
        started = time.monotonic()
        for byte in HEAD * 100:
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.02)
        assert time.monotonic() - started < 5


def test_half_a_second_request_is_given_up_too(server):
    with connect(server) as connection:
        connection.sendall(HEAD + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /v1/mod")
        assert answer(connection)[0] == 408


@pytest.mark.parametrize("drip", [0, 0.1])
def test_a_body_that_never_ends_is_given_up(server, drip):
    head = HEAD.replace(b"GET /v1/models", b"POST /v1/chat/completions")
    with connect(server) as connection:
        connection.sendall(head + b"content-length: 1000\r\n\r\n{")
        found = []
        reader = threading.Thread(target=lambda: found.append(answer(connection)), daemon=True)
        reader.start()
        started = time.monotonic()
        while drip and not found and time.monotonic() - started < 5:
            time.sleep(drip)
            try:
                connection.sendall(b" ")
            except OSError:
                break
        reader.join(10)
        [(status, _, body)] = found
        assert (status, code(body)) == (408, "request_timeout")


def test_half_requests_keep_nobody_out(server):
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connect(server)).sendall(b"POST /v1/files HTTP/1.1\r\n")
        assert [model.id for model in server.client.models.list()][:1] == [BASE]


def test_what_is_no_http_gets_an_error_of_the_protocol(server):
    with connect(server) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        status, _, body = answer(connection)
        assert (status, code(body)) == (400, "invalid_http")


def test_too_many_answers_under_way_are_told_to_come_back(tmp_path, eventually):
    limits = Limits(poll_s=0.02, connections=2, drain_s=0.1)
    with serving(tmp_path, Talking(tmp_path / "s"), limits) as server:
        server.backend.gate.clear()
        threads = [threading.Thread(target=lambda: ask(server), daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(server.backend.asked) == 2)
        with connect(server) as connection:
            status, headers, body = answer(connection)
        assert (status, headers["retry-after"]) == (503, "1")
        assert code(body) == "too_many_connections"
        server.backend.gate.set()
        for thread in threads:
            thread.join(10)


def test_a_client_that_does_not_read_is_given_up(server):
    content = b'{"messages": []}' * (1 << 20)
    file = server.client.files.create(file=("a", content), purpose="batch")
    with connect(server) as connection:
        connection.sendall(HEAD.replace(b"/models", f"/files/{file.id}/content".encode()) + b"\r\n")
        time.sleep(1)
        received = 0
        with suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                received += len(piece)
        assert received < len(content)


def test_running_out_of_files_is_one_line_a_minute(caplog):
    sparing = Sparing()
    caplog.handler.addFilter(sparing)
    try:
        for _ in range(2_000):
            on_loop_error(None, {"exception": OSError(24, "Too many open files")})
    finally:
        caplog.handler.removeFilter(sparing)
    assert len(caplog.records) == 3
    assert {record.exc_info for record in caplog.records} == {None}
    assert "ulimit -n" in caplog.text


def test_the_log_says_how_often_it_kept_quiet():
    sparing = Sparing(allowed=1, every_s=0.05)

    def written():
        record = logging.LogRecord("a", logging.ERROR, "", 0, "broken: %s", ("x",), None)
        return record.getMessage() if sparing.filter(record) else None

    assert [written() for _ in range(4)] == ["broken: x", None, None, None]
    time.sleep(0.06)
    assert written() == "broken: x (3 more like this were not written)"


def test_with_few_files_there_is_room_for_the_server_itself(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (200, 200))
    server = listener.HttpServer(lambda *_: None, Limits())
    assert server.config.http.most + server.config.backlog <= 150


@pytest.mark.parametrize("kind", ["bearer", "BEARER", "Bearer", "bEARER"])
def test_the_kind_of_token_is_written_in_any_case(server, kind):
    headers = {"authorization": f"{kind} {TOKEN}"}
    assert server.send("GET", "/v1/models", token=None, headers=headers).status_code == 200


@pytest.mark.parametrize("given", [TOKEN, f"Basic {TOKEN}", "Bearer", f"Bearer{TOKEN}"])
def test_another_kind_is_no_token(server, given):
    headers = {"authorization": given}
    assert server.send("GET", "/v1/models", token=None, headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/files", "GET, HEAD, POST"),
        ("POST", "/v1/files/file-1", "DELETE, GET, HEAD"),
        ("GET", "/v1/chat/completions", "POST"),
        ("PATCH", "/v1/models/org/name", "DELETE, GET, HEAD"),
        ("DELETE", "/v1/fine_tuning/jobs/ftjob-1", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_there_is_told_which_are(server, method, path, allowed):
    found = server.send(method, path)
    assert (found.status_code, found.headers["allow"]) == (405, allowed)
    assert "allow" not in server.send(method, "/v1/nowhere").headers


def ending(server):
    """Tell the server to end, as a signal does, and wait until it has begun to."""
    server.http.should_exit = True
    end = time.monotonic() + 5
    while not server.http.config.app.ends:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_running_answers_end_and_new_requests_are_told_to_come_back(tmp_path, eventually):
    answers = []
    with serving(tmp_path, Talking(tmp_path / "s"), Limits(poll_s=0.02, drain_s=20)) as server:
        server.backend.gate.clear()
        thread = threading.Thread(target=lambda: answers.append(ask(server)), daemon=True)
        thread.start()
        eventually(lambda: server.backend.asked)
        ending(server)
        for path in ("/v1/models", "/v1/files", "/v1/fine_tuning/jobs"):
            refused = server.send("GET", path)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert refused.json()["error"]["code"] == "server_ending"
        server.backend.gate.set()
        thread.join(10)
    assert answers[0].choices[0].message.content == "가나다"


def test_answers_that_take_too_long_are_given_up_with_words(tmp_path, eventually, caplog):
    caught = []

    def run(**options):
        try:
            answered = ask(server, max_tokens=100, **options)
            if options:
                list(answered)
        except openai.APIError as error:
            caught.append(error)

    with serving(tmp_path, Talking(tmp_path / "s"), Limits(poll_s=0.02, drain_s=0.2)) as server:
        streamed = threading.Thread(target=run, kwargs={"stream": True}, daemon=True)
        streamed.start()
        eventually(lambda: len(server.backend.asked) == 1)
        server.backend.gate.wait(1)
        server.backend.gate.clear()
        whole = threading.Thread(target=run, daemon=True)
        whole.start()
        eventually(lambda: len(server.backend.asked) == 2)
        ending(server)
        for thread in (whole, streamed):
            thread.join(10)
        server.backend.gate.set()
    assert {error.code for error in caught} == {"server_ending"}
    [status] = [error for error in caught if isinstance(error, openai.APIStatusError)]
    assert (status.status_code, status.response.headers["retry-after"]) == (503, "5")
    assert "Traceback" not in caplog.text
