"""Apply a function to many items on all cores, if that is worthwhile, with results in order.

Few items wait at any time, so memory does not grow with the data.
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
"""Smallest input in bytes for which a process pool pays off; spawning one takes about 0.3 s."""

_WAITING = 4
"""Maximum number of items per worker that wait or whose results wait: with fewer, workers idle
while this process writes."""


class Task(Protocol):
    """A function that every process prepares once. Picklable."""

    def open(self) -> Callable[[Any], Any]:
        """Prepare the function that handles one item."""


class MapOrdered(Protocol):
    """Applies a task to every item and yields the results in order."""

    def __call__(self, task: Task, items: Iterable[Any], /) -> Iterator[Any]:
        """Apply the task; few items are taken before their results are requested."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_worthwhile(size: int) -> bool:
    """Return whether `process_pool` starts processes for `size` bytes of input."""
    return size >= WORTH and cores() > 1


@contextmanager
def process_pool(size: int) -> Iterator[MapOrdered]:
    """Provide a way to apply tasks to items."""
    if not is_worthwhile(size):
        yield _map_here
        return
    count = cores()
    with ProcessPoolExecutor(count, get_context(_start_method()), initializer=_set_up) as pool:
        try:
            yield partial(_map_in, pool, count * _WAITING)
        except BrokenProcessPool:
            raise FtctlError(
                "a process that prepares data was killed",
                "Run the command again with more memory: most likely it ran out, as `dmesg` says then.",
            ) from None
        finally:
            # Wait for the running items: they write into a folder that is removed next.
            pool.shutdown(cancel_futures=True)


def _start_method() -> str:
    """Return how to start processes.

    Forking is a third of a second faster. But a fork of a process with threads, such as the server,
    may hang: no thread of the fork releases a lock that another thread held.
    """
    if sys.platform == "linux" and len(list(Path("/proc/self/task").iterdir())) == 1:
        return "fork"
    return "spawn"


def _map_here(task: Task, items: Iterable[Any]) -> Iterator[Any]:
    return map(task.open(), items)


def _map_in(
    pool: ProcessPoolExecutor, max_waiting: int, task: Task, items: Iterable[Any]
) -> Iterator[Any]:
    pickled = pickle.dumps(task)
    waiting: deque[Future[Any]] = deque()
    for item in items:
        waiting.append(pool.submit(_apply, pickled, item))
        if len(waiting) >= max_waiting:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _apply(pickled: bytes, item: object) -> object:
    return _opened(pickled)(item)


@lru_cache(maxsize=2)
def _opened(pickled: bytes) -> Callable[[Any], Any]:
    task: Task = pickle.loads(pickled)  # noqa: S301 - from our own parent process
    return task.open()


def _set_up() -> None:
    Thread(target=_exit_with_parent, daemon=True).start()
    # The parent handles an interruption and ends the workers. Its other signal handlers, inherited
    # by a fork, must not run in a worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A tokenizer starts a thread per core; in a process per core they compete.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Rows hold no cycles, and thousands of them exist at any time: searching them for cycles every
    # few hundred objects takes a tenth of the time.
    gc.freeze()
    gc.set_threshold(100_000)


def _exit_with_parent() -> None:
    """End this process when its parent is gone: a killed parent does not end its children."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
