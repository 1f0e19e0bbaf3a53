"""SHA-256 of a stream, taken by another thread while this one goes on."""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

_WORTH = 1 << 16
"""Bytes from which handing over pays."""


class Sha256:
    """A digest in the making. One thread at a time may use it."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._thread: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def update(self, data: bytes) -> None:
        """Take the next bytes; they are hashed when `hexdigest` returns."""
        self._wait()
        if len(data) < _WORTH:
            self._digest.update(data)
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "sha256")
        started = Event()
        self._pending = self._thread.submit(self._take, data, started)
        # Whoever decodes now holds the interpreter's lock for long, and hashing would not begin.
        started.wait()

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""
        self._wait()
        return self._digest.hexdigest()

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown()

    def _take(self, data: bytes, started: Event) -> None:
        started.set()
        self._digest.update(data)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None
