"""The HTTP server around the application: its connections and its shutdown."""

import resource

import uvicorn

from controller.server.api.connections import connection_class
from controller.server.api.middleware import RequestMiddleware
from controller.server.limits import Limits

_ACCEPTED_AT_ONCE = 100
"""Connections that the event loop accepts before it handles any other event."""
_OWN_FILES = 128
"""File descriptors reserved for the server's own files."""
_LAST_S = 5
"""Seconds that uvicorn waits for remaining answers after the drain."""


class HttpServer(uvicorn.Server):
    """A server that waits for running answers before it ends."""

    def __init__(self, app: RequestMiddleware, limits: Limits) -> None:
        files = _allowed_files()
        at_once = max(1, min(_ACCEPTED_AT_ONCE, files // 8))
        own = min(_OWN_FILES, files // 4) + at_once
        config = uvicorn.Config(
            app,
            http=connection_class(max(1, min(limits.connections, files - own)), limits),
            ws="none",
            # The event loop accepts the whole backlog before any connection can be refused.
            backlog=at_once,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_LAST_S,
            lifespan="on",
        )
        super().__init__(config)
        self._gate = app
        self._limits = limits

    async def on_tick(self, counter: int) -> bool:
        """Return True if the server ends now, after running answers have ended."""
        ends = await super().on_tick(counter)
        if ends:
            ending = self._gate.ending
            await ending.drain(self._limits.drain_s, force=lambda: self.force_exit)
        return ends


def _allowed_files() -> int:
    """Raise the limit of open files as far as possible, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, 1 << 16)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft
