"""Do the same to many batches, on all cores where it pays, with results in order.

Few batches are waiting at any time, so memory does not grow with the data.
"""

import gc
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache, partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

from controller.errors import FtctlError

WORTH = 8 << 20
"""Bytes of input from which starting processes pays, a third of a second where they are spawned."""

_WAITING = 4
"""Batches per worker that are handed out or waiting to be taken back: with fewer, workers idle
while this process writes."""


class Task(Protocol):
    """What is done: opened once in every process that does it. Picklable."""

    def open(self) -> Callable[[Any], Any]:
        """Get everything ready that every item needs; what it returns does one item."""


class MapOrdered(Protocol):
    """Does a job to every item and yields the results in order."""

    def __call__(self, job: Task, items: Iterable[Any], /) -> Iterator[Any]:
        """Do the job; few items are taken before their results are wanted."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_worthwhile(size: int) -> bool:
    """Return whether processes are started for so many bytes of input."""
    return size >= WORTH and cores() > 1


@contextmanager
def process_pool(size: int) -> Iterator[MapOrdered]:
    """Offer a way to do jobs.

    Args:
        size: Bytes of input; little is done in this process.
    """
    if not is_worthwhile(size):
        yield _run_here
        return
    count = cores()
    with ProcessPoolExecutor(count, get_context(_way()), initializer=_set_up) as pool:
        try:
            yield partial(_run_in, pool, count * _WAITING)
        except BrokenProcessPool:
            raise FtctlError(
                "a process that prepares data was killed",
                "Run the command again with more memory: most likely it ran out, as `dmesg` says then.",
            ) from None
        finally:
            # What is begun is waited for: it writes into a folder that is removed next.
            pool.shutdown(cancel_futures=True)


def _way() -> str:
    """Return how processes are started.

    A fork is a third of a second quicker. But of a process with threads, such as the server, it may
    hang, since a lock that another thread holds is never let go in it.
    """
    if sys.platform == "linux" and len(list(Path("/proc/self/task").iterdir())) == 1:
        return "fork"
    return "spawn"


def _run_here(job: Task, items: Iterable[Any]) -> Iterator[Any]:
    return map(job.open(), items)


def _run_in(pool: ProcessPoolExecutor, most: int, job: Task, items: Iterable[Any]) -> Iterator[Any]:
    pickled = pickle.dumps(job)
    waiting: deque[Future[Any]] = deque()
    for item in items:
        waiting.append(pool.submit(_do, pickled, item))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _do(pickled: bytes, item: object) -> object:
    return _opened(pickled)(item)


@lru_cache(maxsize=2)
def _opened(pickled: bytes) -> Callable[[Any], Any]:
    job: Task = pickle.loads(pickled)  # noqa: S301 - from our own parent process
    return job.open()


def _set_up() -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    # An interruption is the parent's, which ends the workers. What else it does when it is told to
    # end, it does alone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A tokenizer's own threads, one for each core in each of these processes, get in each other's way.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Rows hold no cycles, and there are always thousands of them: looking for cycles among them
    # every few hundred objects takes a tenth of the time.
    gc.freeze()
    gc.set_threshold(100_000)


def _end_with_parent() -> None:
    """End this process when its parent is gone: a killed parent ends nobody itself."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
