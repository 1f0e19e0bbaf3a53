"""Connections with time limits that apply before a request is parsed."""

import asyncio
import json
import time
from typing import ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from controller.server.api.errors import ApiError
from controller.server.limits import Limits


class Connection(H11Protocol):
    """One connection. `connection_class` makes a subclass with the limits.

    A request's head has a time limit, and so does a client that does not read its answer. If too
    many connections are open, the server closes the connection that has been idle longest.
    """

    limits: ClassVar[Limits]
    most: ClassVar[int]
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
        waiting = [
            one
            for one in self.connections
            if isinstance(one, Connection) and one is not self and one.waits
        ]
        if waiting:
            min(waiting, key=lambda one: one.since_s).give_up()
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
        body = json.dumps(error.body()).encode()
        head = [
            f"HTTP/1.1 {error.status} {STATUS_PHRASES[error.status].decode()}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
            *(f"{name}: {value}" for name, value in error.headers.items()),
        ]
        self.transport.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        self.transport.close()


def connection_class(most: int, limits: Limits) -> type[Connection]:
    """Return the class of a server's connections.

    Args:
        most: Maximum number of open connections.
        limits: Time limits of a connection.
    """
    return type("Connection", (Connection,), {"most": most, "limits": limits})
