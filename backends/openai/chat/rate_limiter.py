"""Pace of requests to one server, as its rate limits require."""

import re
import threading
import time
from collections.abc import Mapping
from typing import Final

from backends.openai.api.waiting import Waiting

_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class RateLimiter:
    """Holds requests as the server's rate-limit headers require. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open_s = 0.0

    def wait(self, waiting: Waiting, reason: str, over: threading.Event) -> None:
        """Wait until a request may be sent, or until `over` is set."""
        while not over.is_set():
            with self._lock:
                left_s = self._open_s - time.monotonic()
            if left_s <= 0:
                return
            waiting.announce(left_s, reason)
            over.wait(min(left_s, 1.0))

    def close_for(self, seconds: float) -> None:
        """Hold all requests for some seconds."""
        with self._lock:
            self._open_s = max(self._open_s, time.monotonic() + seconds)

    def heed(self, headers: Mapping[str, str]) -> None:
        """Hold requests until the reset, if the headers report that none is left."""
        for what in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{what}") == "0":
                self.close_for(reset_seconds(headers.get(f"x-ratelimit-reset-{what}", "")))


def reset_seconds(text: str) -> float:
    """Return the seconds of a duration such as `1m30.5s` or `120ms`; 0 for other texts."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([a-z]*)", text)
    return sum(float(number) * _UNITS_S.get(unit or "s", 0.0) for number, unit in parts)
