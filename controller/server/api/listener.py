"""The HTTP server around the application: its connections with time limits, and its shutdown."""

import asyncio
import resource
import time
from typing import ClassVar, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from controller.server.api.errors import ApiError
from controller.server.api.middleware import RequestMiddleware
from controller.server.limits import Limits

_ACCEPTED_AT_ONCE = 100
"""Connections that the event loop accepts before it handles any other event."""
_ROUNDS = 4
"""Rounds of the event loop from accepting a connection until the one given up for it is closed."""
_OWN_FILES = 128
"""File descriptors reserved for the server's own files."""
_LAST_S = 5
"""Seconds that uvicorn waits for remaining answers after the drain."""


class Connection(H11Protocol):
    """One connection. Each server has a subclass with its limits.

    A request's head has a time limit, and so does a client that does not read its answer. If too
    many connections are open, the server closes the connection that has been idle longest.
    """

    limits: ClassVar[Limits]
    most: ClassVar[int]
    """Maximum number of open connections."""
    _head: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    since_s: float = 0.0
    """Time of the connection's start or of its last complete answer."""

    @property
    def waits(self) -> bool:
        """True while no request is being answered."""
        # uvicorn declares `cycle` without None, but starts with None.
        cycle = cast("object | None", self.cycle)
        return cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timer of the first head; refuse the connection if there is no room."""
        super().connection_made(cast("asyncio.Transport", transport))
        self.since_s = time.monotonic()
        if len(self.connections) > self.most and not self._make_room():
            message = f"{self.most:,} connections are open. Try again in a moment."
            self._end_with(ApiError(503, "too_many_connections", message, retry_after_s=1))
            return
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._stop_head()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request, and update the timer of the head."""
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        """Record the time, as the connection is idle from now on."""
        self.since_s = time.monotonic()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Start the timer of a client that does not read its answer."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self.limits.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the timer of a client that does not read its answer."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not valid HTTP."""
        if self.waits or not self.cycle.response_started:
            self._end_with(ApiError(400, "invalid_http", msg))
        else:
            self.transport.abort()

    def give_up(self) -> None:
        """Close the connection at once."""
        self.connections.discard(self)
        self.transport.abort()

    def _make_room(self) -> bool:
        others = cast("set[Connection]", self.connections) - {self}
        waiting = [connection for connection in others if connection.waits]
        if waiting:
            min(waiting, key=lambda connection: connection.since_s).give_up()
        return bool(waiting)

    def _watch_head(self) -> None:
        # The rest of a body after its answer counts as well. uvicorn times idle connections.
        begun = bool(self.conn.trailing_data[0]) or self.conn.their_state is not h11.IDLE
        first = cast("object | None", self.cycle) is None
        if not self.waits or self.transport.is_closing():
            self._stop_head()
        elif self._head is None and (first or begun):
            self._head = self.loop.call_later(self.limits.head_s, self._too_slow)

    def _stop_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _too_slow(self) -> None:
        if not self.waits or self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE:
            message = f"The request's head took longer than {self.limits.head_s:g} seconds."
            self._end_with(ApiError(408, "request_timeout", message))
        else:
            self.give_up()

    def _end_with(self, error: ApiError) -> None:
        """Send an error without the application, and close the connection."""
        self._stop_head()
        response = error.response()
        first = b"HTTP/1.1 %d %s" % (error.status, STATUS_PHRASES[error.status])
        headers = [b"%s: %s" % pair for pair in response.raw_headers]
        head = b"\r\n".join([first, *headers, b"connection: close", b"", b""])
        self.transport.write(head + response.body)
        self.transport.close()


class HttpServer(uvicorn.Server):
    """A server that waits for running answers before it ends."""

    def __init__(self, app: RequestMiddleware, limits: Limits) -> None:
        files = _allowed_files()
        at_once = max(1, min(_ACCEPTED_AT_ONCE, files // 16))
        own = min(_OWN_FILES, files // 4) + _ROUNDS * at_once
        most = max(1, min(limits.connections, files - own))
        config = uvicorn.Config(
            app,
            http=type("Connection", (Connection,), {"most": most, "limits": limits}),
            ws="none",
            # The event loop accepts the whole backlog before any connection can be refused.
            backlog=at_once,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_LAST_S,
            lifespan="on",
        )
        super().__init__(config)
        self._app = app

    async def on_tick(self, counter: int) -> bool:
        """Return True if the server ends now, after running answers have ended."""
        ends = await super().on_tick(counter)
        if ends:
            await self._app.drain(force=lambda: self.force_exit)
        return ends


def _allowed_files() -> int:
    """Raise the limit of open files as far as possible, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, 1 << 16)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft
