"""Hand blocks of bytes to another thread, in order, while this one gets the next one ready."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

_WORTH = 1 << 16
"""Bytes from which handing over pays."""


class BackgroundTask:
    """Does one thing to every block: hash it, or write it. One thread at a time may use this.

    It pays where the thing lets other threads run, as hashing and writing do.
    """

    def __init__(self, do: Callable[[bytes], object]) -> None:
        self._do = do
        self._thread: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def __call__(self, block: bytes) -> None:
        """Take the next block, after the one before it is done.

        Raises:
            OSError: Whatever was wrong with the one before.
        """
        self.wait()
        if len(block) < _WORTH:
            self._do(block)
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "aside")
        started = Event()
        self._pending = self._thread.submit(self._begin, block, started)
        # This thread may hold the interpreter's lock for long, and the other would not begin.
        started.wait()

    def wait(self) -> None:
        """Return when all blocks are done.

        Raises:
            OSError: Whatever was wrong with the last one.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown()

    def _begin(self, block: bytes, started: Event) -> None:
        started.set()
        self._do(block)
