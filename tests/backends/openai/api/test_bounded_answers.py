"""An answer that never ends is given up, at a limit of bytes and at a limit of time."""

import itertools
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from backends.openai.api.bounded_answers import AnswerBounds
from backends.openai.api.client import Client
from backends.openai.api.endpoints import Settings
from backends.openai.api.protocol import OutcomeUnknown

MOST = 100_000
PIECE = b" " * 10_000
CALLS = {
    "list_jobs": lambda client: client.list_jobs(limit=1, after=None, metadata={}),
    "create_job": lambda client: client.create_job({"model": "m", "training_file": "f"}),
    "list_models": lambda client: client.list_models(after=None),
    "chat": lambda client: client.chat({"model": "m", "messages": []}),
    "file_content": lambda client: client.file_content("f"),
    "request": lambda client: client.request("GET", "/any"),
}


@contextmanager
def sending(pieces, *, status=200, kind="application/json"):
    """Offer a server that sends pieces as the answer to each request, and the requests' paths."""
    paths = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            paths.append(self.path)
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            try:
                for piece in pieces():
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", paths
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def client_of(url, **bounds):
    return Client(Settings(base_url=url, api_key="sk-test"), bounds=AnswerBounds(**bounds))


def endless():
    return itertools.repeat(PIECE)


@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_answer_without_end_is_given_up_once(status):
    with sending(endless, status=status) as (url, paths):
        client = client_of(url, most_bytes=MOST)
        for call in CALLS.values():
            paths.clear()
            with pytest.raises(OutcomeUnknown, match=r"the answer has more than 0 MB") as caught:
                call(client)
            assert not caught.value.may_pass
            assert caught.value.sent
            assert len(paths) == 1
        with client.apart() as other, pytest.raises(OutcomeUnknown, match="has more than"):
            other.list_models(after=None)


def test_an_answer_that_trickles_is_given_up_after_ten_times_the_wait_for_its_next_bytes():
    ticks = itertools.count(step=60.0)
    seen = []

    def clock():
        seen.append(next(ticks))
        return seen[-1]

    with sending(endless) as (url, _):
        client = client_of(url, clock=clock)
        with pytest.raises(OutcomeUnknown, match="did not come to its end in time"):
            client.list_models(after=None)
    assert seen[-1] - seen[0] == 660.0


@pytest.mark.parametrize(("pieces", "passes"), [(10, True), (11, False)])
def test_an_answer_of_the_limit_is_read(pieces, passes):
    def body():
        yield b'{"data":[]}'.ljust(len(PIECE))
        yield from itertools.repeat(PIECE, pieces - 1)

    with sending(body) as (url, _):
        client = client_of(url, most_bytes=MOST)
        if passes:
            assert client.list_models(after=None) == {"data": []}
        else:
            with pytest.raises(OutcomeUnknown, match="has more than"):
                client.list_models(after=None)


def test_files_that_go_to_the_disk_and_streams_have_any_length():
    with sending(lambda: itertools.repeat(PIECE, 50)) as (url, _):
        got = []
        client_of(url, most_bytes=MOST).download_file("f", got.extend)
        assert sum(map(len, got)) == 50 * len(PIECE)
    chunk = b'data: {"id":"c","choices":[]}\n\n' + b": waits\n\n" * 1000
    with sending(lambda: itertools.repeat(chunk, 50), kind="text/event-stream") as (url, _):
        client = client_of(url, most_bytes=MOST)
        assert len(list(client.stream_chat({"model": "m", "messages": []}))) == 50
