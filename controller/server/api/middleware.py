"""Middleware for every request: request ID, token, time limits, and the end of the server."""

import json
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from uuid import uuid4

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.server.api.errors import ApiError
from controller.server.limits import Limits

DRAIN_BYTES = 64 << 20
"""Maximum number of bytes read of a refused body. Closing the connection while the client is still
sending could lose the answer."""
DRAIN_S = 10.0
_LINGER_S = 1.0
"""Seconds that a client that is still sending gets to read its answer, before the connection is
closed. Closed at once, the connection would be reset, and the answer lost (RFC 9112, 9.6)."""
_LOOK_S = 0.05
_LAST_WORDS_S = 2.0
"""Seconds in which a cancelled answer can still report its cancellation."""
_log = logging.getLogger(__name__)


class RequestMiddleware:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, token: str, limits: Limits) -> None:
        self._app = app
        self._token = token.encode()
        self._limits = limits
        self._running: set[anyio.CancelScope] = set()
        self.ends = False
        """True while the server is shutting down: new requests are refused."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._limits)
        answer = _Answer(send, body)
        error = self._refusal(Headers(scope=scope))
        if error is not None:
            await error.response()(scope, body.receive, answer.send)
            return
        with anyio.CancelScope() as running:
            self._running.add(running)
            try:
                await self._app(scope, body.receive, answer.send)
            except Exception:  # noqa: BLE001 - answered and logged; raised, it would cut the client off
                _log.exception("%s %s", scope["method"], scope["path"])
            finally:
                self._running.discard(running)
        if running.cancelled_caught:
            await answer.break_off(_shutting_down(), scope)

    def _refusal(self, headers: Headers) -> ApiError | None:
        given = headers.get("authorization", "").strip()
        kind, _, token = given.partition(" ")
        # The scheme is case-insensitive, by RFC 9110.
        same = secrets.compare_digest(token.strip().encode(errors="replace"), self._token)
        if not same or kind.lower() != "bearer":
            wrong = "Incorrect API key provided." if given else "You didn't provide an API key."
            remedy = "Send `Authorization: Bearer TOKEN` with the token of this server."
            return ApiError(401, "invalid_api_key", f"{wrong} {remedy}")
        return _shutting_down() if self.ends else None

    async def drain(self, *, force: Callable[[], bool]) -> None:
        """Wait for running answers; cancel answers that take longer than `drain_s`.

        Args:
            force: Returns True if a person wants the server to end at once.
        """
        self.ends = True
        if self._running:
            _log.warning(
                "shutting down: %d requests are still being answered, for at most %g s; "
                "press Ctrl-C again to end at once",
                len(self._running),
                self._limits.drain_s,
            )
        await self._until_idle(self._limits.drain_s, force)
        for scope in list(self._running):
            scope.cancel()
        await self._until_idle(_LAST_WORDS_S, force)

    async def _until_idle(self, patience_s: float, force: Callable[[], bool]) -> None:
        for _ in range(int(patience_s / _LOOK_S) + 1):
            if not self._running or force():
                return
            await anyio.sleep(_LOOK_S)


def _shutting_down() -> ApiError:
    message = "The server is shutting down. Try again in a moment."
    return ApiError(503, "server_ending", message, retry_after_s=5)


class _Answer:
    """An answer on its way to the client."""

    def __init__(self, send: Send, body: "_Body") -> None:
        self._send = send
        self._body = body
        self._request_id = f"req_{uuid4().hex}"
        self._kind: str | None = None
        """Content type of the answer, once it has started."""
        self._over = False
        self._closes = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._request_id
            self._kind = headers.get("content-type", "")
            if message["status"] >= HTTPStatus.BAD_REQUEST:
                await self._body.drain()
                if not self._body.over:
                    headers["connection"] = "close"
                    self._closes = True
        self._over = message["type"] == "http.response.body" and not message.get("more_body")
        if self._over and self._closes:
            await self._send({**message, "more_body": True})
            await self._body.linger()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def break_off(self, error: ApiError, scope: Scope) -> None:
        """Send the reason why the answer does not start or breaks off."""
        if self._kind is None:
            await error.response()(scope, self._body.receive, self.send)
        elif not self._over and self._kind.startswith("text/event-stream"):
            last = b"data: " + json.dumps(error.body()).encode() + b"\n\n"
            await self.send({"type": "http.response.body", "body": last, "more_body": False})


class _Body:
    """A request's body, with time limits and a flag for its end."""

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive = receive
        self._limits = limits
        self._begun_s = time.monotonic()
        self._bytes = 0
        self._late = False
        self.over = False
        """True once the whole body has arrived."""

    async def receive(self) -> Message:
        """Return the next part of the body.

        Raises:
            ApiError: The client is too slow.
        """
        if self.over:
            return await self._receive()
        with anyio.move_on_after(self._patience_s()) as waiting:
            message = await self._receive()
            self._bytes += len(message.get("body", b""))
            self.over = not message.get("more_body", False)
            return message
        self._late = waiting.cancelled_caught
        raise ApiError(408, "request_timeout", "The request's body arrived too slowly.")

    async def drain(self) -> None:
        """Read the rest of a refused body, up to `DRAIN_BYTES`."""
        left = DRAIN_BYTES
        with anyio.move_on_after(DRAIN_S), suppress(ApiError):
            while not (self.over or self._late) and left > 0:
                left -= len((await self.receive()).get("body", b""))

    async def linger(self) -> None:
        """Discard what the client still sends, until it closes or `_LINGER_S` have passed."""
        with anyio.move_on_after(_LINGER_S):
            while (await self._receive())["type"] != "http.disconnect":
                pass

    def _patience_s(self) -> float:
        limits = self._limits
        allowed_s = limits.pause_s + self._bytes / limits.slowest_bytes_s
        return max(0.0, min(limits.pause_s, self._begun_s + allowed_s - time.monotonic()))
