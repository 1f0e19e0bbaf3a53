"""Shutdown of the server: running answers may continue for a while, new requests are refused."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from controller.server.api.errors import ApiError

_log = logging.getLogger(__name__)
_LOOK_S = 0.05
_LAST_WORDS_S = 2.0
"""Seconds in which a cancelled answer can still report its cancellation."""


@dataclass(slots=True)
class Ending:
    """State of the shutdown, and the running requests."""

    begun: bool = False
    running: set[anyio.CancelScope] = field(default_factory=set)

    def refusal(self) -> ApiError:
        """Return the error for requests during the shutdown."""
        message = "The server is shutting down. Try again in a moment."
        return ApiError(503, "server_ending", message, retry_after_s=5)

    async def drain(self, patience_s: float, *, force: Callable[[], bool]) -> None:
        """Wait for running answers; cancel answers that take longer than `patience_s`.

        Args:
            patience_s: Seconds that running answers may take.
            force: Returns True if a person wants the server to end at once.
        """
        self.begun = True
        if self.running:
            _log.warning(
                "shutting down: %d requests are still being answered, for at most %g s; "
                "press Ctrl-C again to end at once",
                len(self.running),
                patience_s,
            )
        await self._until_idle(patience_s, force)
        for scope in list(self.running):
            scope.cancel()
        await self._until_idle(_LAST_WORDS_S, force)

    async def _until_idle(self, patience_s: float, force: Callable[[], bool]) -> None:
        for _ in range(int(patience_s / _LOOK_S) + 1):
            if not self.running or force():
                return
            await anyio.sleep(_LOOK_S)
