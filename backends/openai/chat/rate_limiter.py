"""Pace of requests to one server, as its rate limits require."""

import re
import threading
import time
from collections.abc import Mapping
from typing import Final

from backends.openai.api.waiting import Waiting

_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


_SLOWER: Final = 1.05
"""Factor of the time between two requests after the server has refused one for its rate."""
_SEARCHING: Final = 0.9
"""Factor of that time after each accepted request, until the limit is found."""
_FASTER: Final = 0.998
"""The same after the limit was found, since it may change."""
_LOOK_S: Final = 0.2


class RateLimiter:
    """Holds requests as the server's rate limit requires. Thread-safe.

    Requests are not held until the server refuses one for its rate. From then on they are sent one
    after the other in the pace that the server has accepted so far, which is corrected after each
    answer. So few requests are refused, and little of the limit is left unused.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._open_s = 0.0
        """Clock until which the server wants no requests."""
        self._next_s = 0.0
        self._gap_s = 0.0
        """Seconds between two requests; 0 while the server has refused none."""
        self._faster = _SEARCHING
        self._changed_s = 0.0
        """Clock of the last correction after a refusal."""
        self._first_s: float | None = None
        self._accepted = 0

    def wait(
        self, waiting: Waiting, reason: str, over: threading.Event, *, again: bool = False
    ) -> None:
        """Wait until a request may be sent, or until `over` is set.

        Args:
            waiting: Announces long waits.
            reason: The reason of the wait.
            over: Ends the wait when set.
            again: True if the request was sent before; it does not queue behind new requests.
        """
        if again:
            self._hold(waiting, reason, over)
            return
        while not self._turn.acquire(timeout=_LOOK_S):
            if over.is_set():
                return
        try:
            self._hold(waiting, reason, over)
        finally:
            self._turn.release()

    def accept(self, headers: Mapping[str, str]) -> None:
        """Note that the server has accepted a request.

        Requests are held until the reset, if the headers report that none is left.
        """
        with self._lock:
            self._accepted += 1
            self._gap_s *= self._faster
        for what in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{what}") == "0":
                self._close_for(reset_seconds(headers.get(f"x-ratelimit-reset-{what}", "")))

    def refuse(self, sent_s: float, pause_s: float) -> None:
        """Note that the server has refused a request for its rate.

        Args:
            sent_s: Clock when the request was sent.
            pause_s: Seconds for which all requests are held.
        """
        now_s = time.monotonic()
        with self._lock:
            if not self._gap_s:
                begun_s = now_s if self._first_s is None else self._first_s
                self._gap_s = max(now_s - begun_s, _LOOK_S) / (self._accepted + 1)
            elif sent_s >= self._changed_s:
                self._gap_s *= _SLOWER
                self._faster = _FASTER
            else:
                # It was sent in a pace that has been corrected since.
                now_s = self._changed_s
            self._changed_s = now_s
        self._close_for(pause_s)

    def _close_for(self, seconds: float) -> None:
        with self._lock:
            self._open_s = max(self._open_s, time.monotonic() + seconds)

    def _hold(self, waiting: Waiting, reason: str, over: threading.Event) -> None:
        while not over.is_set():
            with self._lock:
                now_s = time.monotonic()
                left_s = max(self._open_s, self._next_s) - now_s
                if left_s <= 0:
                    self._first_s = self._first_s or now_s
                    self._next_s = max(self._next_s + self._gap_s, now_s)
                    return
            if left_s > _LOOK_S:
                waiting.announce(min(left_s, 1.0), reason)
            over.wait(min(left_s, 1.0))


def reset_seconds(text: str) -> float:
    """Return the seconds of a duration such as `1m30.5s` or `120ms`; 0 for other texts."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([a-z]*)", text)
    return sum(float(number) * _UNITS_S.get(unit or "s", 0.0) for number, unit in parts)
