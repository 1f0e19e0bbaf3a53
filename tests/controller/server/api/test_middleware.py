"""Requests while the server works and while it shuts down, without a network."""

import json

import anyio
import pytest

from controller.server.api.errors import ApiError
from controller.server.api.middleware import RequestMiddleware
from controller.server.limits import Limits

LIMITS = Limits(drain_s=0.2, pause_s=0.2)


class Client:
    """Sends one request to an application, and keeps what is answered."""

    def __init__(self, token="secret", body=(b"",)):
        value = f"Bearer {token}".encode() if token else b""
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/x",
            "headers": [(b"authorization", value)],
        }
        self.pieces = list(body)
        self.sent = []

    async def receive(self):
        if not self.pieces:
            await anyio.sleep_forever()
        piece = self.pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self.pieces)}

    async def send(self, message):
        self.sent.append(message)

    async def ask(self, app):
        await app(self.scope, self.receive, self.send)

    @property
    def status(self):
        return self.sent[0]["status"] if self.sent else None

    @property
    def headers(self):
        return {key.decode(): value.decode() for key, value in self.sent[0]["headers"]}

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def code(self):
        return json.loads(self.body)["error"]["code"]


def start(kind=b"application/json"):
    return {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]}


def part(body, *, more):
    return {"type": "http.response.body", "body": body, "more_body": more}


async def quick(_scope, _receive, send):
    await send(start())
    await send(part(b"{}", more=False))


async def limited(wait):
    with anyio.fail_after(10):
        await wait()


def gated(opened, *first):
    """Return an application that sends some messages, and its answer when a gate opens."""

    async def app(_scope, _receive, send):
        for message in first:
            await send(message)
        await limited(opened.wait)
        if not first:
            await send(start())
        await send(part(b"end", more=False))

    return app


def middleware(app, limits=LIMITS):
    return RequestMiddleware(app, "secret", limits)


@pytest.mark.parametrize(
    ("token", "status"),
    [("secret", 200), ("secret ", 200), ("Secret", 401), ("", 401), ("secre", 401), ("é", 401)],
)
def test_the_token_decides(token, status):
    client = Client(token)
    anyio.run(client.ask, middleware(quick))
    assert client.status == status
    assert client.headers["x-request-id"].startswith("req_")
    if status == 401:
        assert (client.code, client.headers["www-authenticate"]) == ("invalid_api_key", "Bearer")
        said = json.loads(client.body)["error"]["message"]
        assert said.startswith("Incorrect API key" if token else "You didn't provide an API key")


def test_every_request_has_an_id_of_its_own():
    clients = [Client() for _ in range(3)]
    for client in clients:
        anyio.run(client.ask, middleware(quick))
    assert len({client.headers["x-request-id"] for client in clients}) == 3


def drained(app, client, *, opens_after_s=None, forced=False):
    """Shut a server down while it answers one client; return the seconds that it takes."""

    async def run():
        gate = anyio.Event()
        server = middleware(app(gate))
        async with anyio.create_task_group() as group:
            group.start_soon(client.ask, server)
            await anyio.wait_all_tasks_blocked()
            began_s = anyio.current_time()

            async def open_gate():
                await anyio.sleep(opens_after_s)
                gate.set()

            if opens_after_s is not None:
                group.start_soon(open_gate)
            await server.drain(force=lambda: forced)
            took_s = anyio.current_time() - began_s
            gate.set()
        late = Client()
        await late.ask(server)
        assert (late.status, late.code, late.headers["retry-after"]) == (503, "server_ending", "5")
        return took_s

    return anyio.run(run)


def test_an_answer_that_ends_in_time_is_waited_for():
    client = Client()
    assert drained(gated, client, opens_after_s=0.05) < LIMITS.drain_s
    assert (client.status, client.body) == (200, b"end")


def test_an_answer_that_has_not_begun_in_time_is_refused():
    client = Client()
    assert drained(gated, client) >= LIMITS.drain_s
    assert (client.status, client.code) == (503, "server_ending")


def test_a_stream_ends_with_the_reason():
    client = Client()
    first = (start(b"text/event-stream"), part(b"data: 1\n\n", more=True))
    drained(lambda gate: gated(gate, *first), client)
    assert client.status == 200
    last = client.body.removeprefix(b"data: 1\n\ndata: ")
    assert json.loads(last)["error"]["code"] == "server_ending"
    assert client.sent[-1]["more_body"] is False


def test_a_file_that_is_being_sent_is_cut_off_without_words():
    client = Client()
    first = (start(b"application/octet-stream"), part(b"half", more=True))
    drained(lambda gate: gated(gate, *first), client)
    assert client.body == b"half"


def test_a_person_may_end_it_at_once():
    assert drained(gated, Client(), forced=True) < LIMITS.drain_s


def test_a_server_without_requests_ends_at_once():
    async def run():
        began_s = anyio.current_time()
        await middleware(quick).drain(force=lambda: False)
        return anyio.current_time() - began_s

    assert anyio.run(run) < LIMITS.drain_s


def test_a_defect_of_the_application_is_logged_and_ends_the_request(caplog):
    async def broken(_scope, _receive, _send):
        raise ZeroDivisionError

    client = Client()
    anyio.run(client.ask, middleware(broken))
    assert client.sent == []
    assert "ZeroDivisionError" in caplog.text


async def reading(_scope, receive, send):
    more = True
    while more:
        more = (await receive()).get("more_body")
    await quick(None, None, send)


def test_a_body_that_stops_is_given_up():
    caught = []

    async def app(scope, receive, send):
        try:
            await reading(scope, receive, send)
        except ApiError as error:
            caught.append(error)

    client = Client(body=(b"a",))
    client.receive = slowly(client.receive)
    anyio.run(client.ask, middleware(app))
    assert [(error.status, error.code) for error in caught] == [(408, "request_timeout")]


def slowly(receive):
    """Return a client's `receive` that says there is more, and then sends nothing."""

    async def more():
        return {**await receive(), "more_body": True}

    return more


def test_what_is_left_of_a_refused_body_is_read():
    client = Client("wrong", body=(b"x",) * 50)
    anyio.run(client.ask, middleware(quick))
    assert client.status == 401
    assert client.pieces == []
    assert "connection" not in client.headers


def test_a_refused_body_without_an_end_closes_the_connection():
    client = Client("wrong", body=(b"x",))
    client.receive = slowly(client.receive)
    anyio.run(client.ask, middleware(quick))
    assert (client.status, client.headers["connection"]) == (401, "close")
    assert client.sent[-1] == {"type": "http.response.body", "body": b""}
