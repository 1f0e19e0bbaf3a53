"""One worker at a time trains a run: claims that are made once, and signs of life.

A worker claims the next generation of a run where the newest holder has released it, or has shown no
sign of life for a while by the store's own clock. The holder looks for newer claims before each
write that counts, and stops if there is one.
"""

import json
import os
import re
import secrets
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from backends.local_gpu.machines.objects import (
    CLAIMS,
    CLOCK,
    HEARTBEAT,
    MARK,
    RESULT,
    RUNS,
    StoredRun,
    claim_name,
    key_of,
    released_name,
    stored_runs,
)
from backends.stores.objects import SharedStore, StoreError

LOST: Final = "FTCTL_LOST_AFTER_S"
"""Environment variable: seconds without a sign of life after which a worker counts as lost."""
_LOST_S: Final = 90.0
"""The same where nothing is set: folders on a network are seen up to a minute late."""
_MARK: Final = re.compile(rb"[0-9a-f]{16}")
_BEATS: Final = 6
"""Signs of life in that time."""


def say(message: str) -> None:
    """Write a line to this worker's own output, which its scheduler keeps."""
    sys.stdout.write(f"ftctl: {message}\n")
    sys.stdout.flush()


def lost_after_s() -> float:
    """Return the seconds without a sign of life after which a worker counts as lost."""
    try:
        return max(1.0, float(os.environ[LOST]))
    except (KeyError, ValueError):
        return _LOST_S


def mark_of(store: SharedStore) -> str:
    """Return the mark of a store, which the first who asks makes.

    Raises:
        StoreError: The store refuses or does not answer, or has something else there.
    """
    key = f"{RUNS}{MARK}"
    mark = store.read(key)
    if mark is None:
        store.create(key, secrets.token_hex(8).encode())
        mark = store.read(key)
    if mark is None or _MARK.fullmatch(mark) is None:
        # With another mark, jobs would have other names, and nobody would find those that are open.
        raise StoreError(
            f"{key} in {store.url} is damaged: it is no mark of 16 hex digits",
            f"Restore it from a backup. If no job is open there, remove {key}: the next command makes "
            "another.",
        )
    return mark.decode()


def list_runs(store: SharedStore) -> dict[str, StoredRun]:
    """Return all runs of a store by their names, at the time of the store's clock.

    Raises:
        StoreError: The store refuses or does not answer.
    """
    store.write(f"{RUNS}{CLOCK}", b"")
    return stored_runs(store.find(RUNS))


def list_run(store: SharedStore, name: str) -> StoredRun:
    """Return one run, which may have no objects yet.

    Raises:
        StoreError: The store refuses or does not answer.
    """
    store.write(key_of(name, CLOCK), b"")
    nothing = StoredRun(name=name, objects={}, now_s=0.0)
    return stored_runs(store.find(f"{RUNS}{name}/")).get(name, nothing)


@dataclass(slots=True, kw_only=True)
class Claim:
    """The right of this process to train a run.

    Attributes:
        store: The store.
        run: Name of the run.
        generation: Number of the claim.
        is_superseded: True once a newer claim was seen: nothing may be written any more.
        ended: Ends the signs of life.
    """

    store: SharedStore
    run: str
    generation: int
    is_superseded: bool = False
    ended: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        """Show signs of life from now on, in a thread of its own."""
        threading.Thread(target=self._beat, daemon=True).start()

    def holds(self) -> bool:
        """Return whether this is the newest claim; asks the store.

        Raises:
            StoreError: The store does not answer.
        """
        prefix = key_of(self.run, CLAIMS)
        newest = max((one.key for one in self.store.find(prefix)), default="")
        if not self.is_superseded and newest > key_of(self.run, claim_name(self.generation)):
            say("another worker has taken this run over; nothing more is recorded")
            self.is_superseded = True
        return not self.is_superseded

    def release(self, why: str = "") -> None:
        """Let another worker continue at once.

        Args:
            why: What went wrong; empty if this worker was asked to stop.
        """
        self.ended.set()
        self.store.create(key_of(self.run, released_name(self.generation)), why.encode())

    def _beat(self) -> None:
        key, pause_s = key_of(self.run, HEARTBEAT), lost_after_s() / _BEATS
        while not self.ended.is_set():
            sign = {"generation": self.generation, "host": socket.gethostname(), "pid": os.getpid()}
            try:
                # Only the newest holder may: the sign of life does not tell who lives.
                if self.holds():
                    self.store.write(key, json.dumps({**sign, "time_s": time.time()}).encode())
            except StoreError as error:
                # It may answer again; until then, what this worker trains is not lost.
                say(f"no sign of life could be written: {error.message}")
            if self.is_superseded:
                return
            self.ended.wait(pause_s)


def take_claim(store: SharedStore, name: str) -> Claim | None:
    """Claim a run for this process, and begin to show signs of life.

    Returns:
        None if another worker holds the run, or it has ended.

    Raises:
        StoreError: The store refuses or does not answer.
    """
    stored = list_run(store, name)
    if stored.is_held(lost_after_s()) or stored.has(RESULT):
        return None
    generation = stored.generation + 1
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(16)}
    data = json.dumps(mine).encode()
    key = key_of(name, claim_name(generation))
    # A repeated request may find the claim that its first, unanswered one has made.
    if not store.create(key, data) and store.read(key) != data:
        return None
    claim = Claim(store=store, run=name, generation=generation)
    claim.begin()
    return claim
