"""Batches of the next step, made while the device computes the step before."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Takes from an iterator in a thread, one step ahead. The order stays the same."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._source: Iterator[T] | None = None
        self._next: Future[list[T]] | None = None

    def take(self, source: Iterator[T], count: int) -> list[T]:
        """Return the next items of an iterator, and begin to make as many more.

        Args:
            source: The iterator; from a new one, nothing was taken before.
            count: Number of items, the same at each call except for what is left at the end.
        """
        if self._next is None or self._source is not source:
            found = list(islice(source, count))
        else:
            found = self._next.result()
        self._source = source
        self._next = self._thread.submit(lambda: list(islice(source, count)))
        return found
