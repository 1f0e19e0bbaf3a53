"""Waits that are announced: a wait of some seconds logs its reason, each reason once."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LONG_S: Final = 5.0
"""Longest total wait for a reason without an announcement."""
_log: Final = logging.getLogger("ftctl.openai")


class Waiting:
    """Sleeps, and logs the reason once if all its waits exceed `LONG_S`. Thread-safe.

    Without logging configuration, the warning goes to stderr, apart from the command's output.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waited_s: dict[str, float] = {}
        self._said: set[str] = set()

    def sleep(self, seconds: float, reason: str, *, most_s: float | None = None) -> None:
        """Sleep.

        Args:
            seconds: Length of the wait.
            reason: The reason, a clause after "waiting for": `server (URL) to load model x`. Waits
                for the same reason add up.
            most_s: Limit of all waits for this reason, in seconds.
        """
        if seconds <= 0:
            return
        self.announce(seconds, reason, most_s=most_s)
        time.sleep(seconds)

    @contextmanager
    def during(self, reason: str, *, after_s: float = LONG_S) -> Iterator[None]:
        """Announce the reason if a call takes longer than `after_s`. See `sleep`.

        Args:
            reason: The reason of the wait.
            after_s: Seconds that the call may take without an announcement.
        """
        timer = threading.Timer(after_s, self.announce, (LONG_S + after_s, reason))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def announce(self, seconds: float, reason: str, *, most_s: float | None = None) -> None:
        """Log a reason once its waits exceed `LONG_S` in total. See `sleep`."""
        with self._lock:
            waited_s = self._waited_s.get(reason, 0.0) + seconds
            self._waited_s[reason] = waited_s
            if waited_s <= LONG_S or reason in self._said:
                return
            self._said.add(reason)
        limit = "" if most_s is None else f" (up to {max(most_s, seconds):.0f} s)"
        _log.warning("waiting for %s%s", reason, limit)
