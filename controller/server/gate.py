"""What every request passes: a request ID, the bearer token, and a whole body before an error."""

import logging
import secrets
from uuid import uuid4

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.server.errors import ApiError

DRAIN_BYTES = 64 << 20
"""Read of a refused body. Closing a connection on a client that is still sending would take the
answer away from it; beyond this, that is its own affair."""
DRAIN_S = 10.0
_log = logging.getLogger(__name__)


class Gate:
    """ASGI middleware before everything else."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer 401."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive)
        request_id = f"req_{uuid4().hex}"

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
                if message["status"] >= 400:  # noqa: PLR2004 - HTTP's own border
                    await body.drain()
            await send(message)

        given = Headers(scope=scope).get("authorization", "").encode("utf-8", errors="replace")
        if secrets.compare_digest(given, self._expected):
            try:
                await self._app(scope, body.receive, marked)
            except Exception:  # noqa: BLE001 - answered and logged; raised, it would cut the client off
                _log.exception("%s %s", scope["method"], scope["path"])
            return
        message = "Incorrect API key provided. The server printed one, or has FTCTL_SERVE_TOKEN."
        if not given:
            message = "You didn't provide an API key: Authorization: Bearer TOKEN"
        await ApiError(401, "invalid_api_key", message).response()(scope, body.receive, marked)


class _Body:
    """A request's body, which knows whether it was read to its end."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._over = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._over = self._over or not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        left = DRAIN_BYTES
        with anyio.move_on_after(DRAIN_S):
            while not self._over and left > 0:
                left -= len((await self.receive()).get("body", b""))
