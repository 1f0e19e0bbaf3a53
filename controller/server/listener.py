"""The server of HTTP around the application: its connections, and how it ends."""

import resource

import uvicorn

from controller.server.connections import connection_class
from controller.server.gate import Gate
from controller.server.limits import Limits

_ACCEPTED_AT_ONCE = 100
"""Connections taken from the system before the next look at anything else."""
_OWN_FILES = 128
"""Files that the server opens for itself."""
_LAST_S = 5
"""What is left of answers when the server has ended may take so long."""


class HttpServer(uvicorn.Server):
    """A server that lets running answers end before it does."""

    def __init__(self, app: Gate, limits: Limits) -> None:
        files = _allowed_files()
        at_once = max(1, min(_ACCEPTED_AT_ONCE, files // 8))
        own = min(_OWN_FILES, files // 4) + at_once
        config = uvicorn.Config(
            app,
            http=connection_class(max(1, min(limits.connections, files - own)), limits),
            ws="none",
            # Accepted in one go, before any of them can be refused.
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
        """Return whether the server ends now."""
        ends = await super().on_tick(counter)
        if ends:
            ending = self._gate.ending
            await ending.drain(self._limits.drain_s, force=lambda: self.force_exit)
        return ends


def _allowed_files() -> int:
    """Return how many files this process may open, after asking for all that it can get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, 1 << 16)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft
