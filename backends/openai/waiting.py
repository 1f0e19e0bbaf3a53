"""Waiting, and saying what for: a wait of some seconds is announced, each reason once."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LONG_S: Final = 5.0
"""Waits that are longer in all are announced."""
_log: Final = logging.getLogger("ftctl.openai")


class Waiting:
    """Sleeps for reasons, and logs a reason once when it costs more than some seconds. For many threads.

    A warning of an unconfigured logger goes to stderr as it is, beside whatever a command prints.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waited_s: dict[str, float] = {}
        self._said: set[str] = set()

    def sleep(self, seconds: float, reason: str, *, most_s: float | None = None) -> None:
        """Sleep.

        Args:
            seconds: How long.
            reason: What is waited for, a clause: `server (URL) to load model x`. Waits for the
                same reason add up.
            most_s: How long all waits for this reason may take.
        """
        if seconds <= 0:
            return
        self.announce(seconds, reason, most_s=most_s)
        time.sleep(seconds)

    @contextmanager
    def during(self, reason: str, *, after_s: float = LONG_S) -> Iterator[None]:
        """Announce what is waited for, when a call takes long. See `sleep`.

        Args:
            reason: What is waited for.
            after_s: How long the call may take without a word.
        """
        timer = threading.Timer(after_s, self.announce, (LONG_S + after_s, reason))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def announce(self, seconds: float, reason: str, *, most_s: float | None = None) -> None:
        """Log a reason, if waiting so long for it makes it worth knowing. See `sleep`."""
        with self._lock:
            waited_s = self._waited_s.get(reason, 0.0) + seconds
            self._waited_s[reason] = waited_s
            if waited_s <= LONG_S or reason in self._said:
                return
            self._said.add(reason)
        limit = "" if most_s is None else f" (up to {max(most_s, seconds):.0f} s)"
        _log.warning("waiting for %s%s", reason, limit)
