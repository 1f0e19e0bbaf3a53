"""Marks in the store by which pushes and a prune keep out of each other's way.

A push relies on pieces that are there already, and a prune removes pieces that no build names yet.
Each writes its own mark before it looks for the mark of the other, so at least one of two sees the
other. Marks of processes that died lose their force with age, by the store's own clock.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from backends.stores.objects import LOCKS, ObjectStore, StoredObject, StoreError

PRUNE: Final = f"{LOCKS}prune"
_PUSH: Final = f"{LOCKS}push-"
PUSH_S: Final = 86_400.0
"""Age after which the mark of a push has no force: no push takes longer."""
PRUNE_S: Final = 3_600.0
"""The same of a prune."""


@contextmanager
def pushing(store: ObjectStore) -> Iterator[None]:
    """Mark a push for as long as the block takes.

    Raises:
        StoreError: A prune is at work, or took this push for dead meanwhile: on a machine that
            slept, for example. Or the store refuses.
    """
    mark = f"{_PUSH}{secrets.token_hex(16)}"
    store.create(mark, b"")
    try:
        seen = {one.key: one for one in store.find(LOCKS)}
        if PRUNE in seen and _age_s(seen[PRUNE], seen.get(mark)) < PRUNE_S:
            message = f"models are being pruned from the store {store.url}"
            raise StoreError(message, "Run the same command again in some minutes.")
        yield
        if not store.has(mark):
            message = f"models were pruned from the store {store.url} during this push"
            raise StoreError(message, "Run the same command again: it sends what is missing.")
    finally:
        # Without its mark a push is only less protected; the error that ends it matters more.
        with suppress(StoreError):
            store.remove([mark])


@contextmanager
def pruning(store: ObjectStore) -> Iterator[Callable[[], None]]:
    """Hold the store for a prune for as long as the block takes.

    Yields:
        What to call before each part of the work. It raises StoreError once the mark is about to
        lose its force, after which a push may begin.

    Raises:
        StoreError: Another prune or a push is at work, or the store refuses.
    """
    mine = secrets.token_hex(16).encode()
    _take(store, mine)
    try:
        marks = list(store.find(LOCKS))
        own = next((one for one in marks if one.key == PRUNE), None)
        pushes = [one for one in marks if one.key.startswith(_PUSH)]
        stale = [one.key for one in pushes if _age_s(one, own) >= PUSH_S]
        if len(stale) < len(pushes):
            message = f"a model is being pushed to the store {store.url}"
            raise StoreError(message, "Run the same command again when that has ended.")
        store.remove(stale)
        yield partial(_require_force, store, mine)
    finally:
        with suppress(StoreError):
            if store.read(PRUNE) == mine:
                store.remove([PRUNE])


def _take(store: ObjectStore, mine: bytes) -> None:
    # A repeated request may find the mark that its first, unanswered one has made.
    if store.create(PRUNE, mine) or store.read(PRUNE) == mine:
        return
    if _prune_age_s(store) >= PRUNE_S:
        store.remove([PRUNE])
        if store.create(PRUNE, mine):
            return
    message = f"another prune of the store {store.url} is at work"
    raise StoreError(message, "Run the same command again in some minutes.")


def _require_force(store: ObjectStore, mine: bytes) -> None:
    if store.read(PRUNE) != mine or _prune_age_s(store) >= PRUNE_S / 2:
        message = f"the prune of the store {store.url} took too long to be safe beside a push"
        raise StoreError(message, "Run the same command again: it removes what is left.")


def _prune_age_s(store: ObjectStore) -> float:
    """Return the age of the mark of a prune by the clock of the store; 0 if there is none."""
    clock = f"{LOCKS}clock-{secrets.token_hex(16)}"
    store.create(clock, b"")
    marks = {one.key: one for one in store.find(LOCKS)}
    store.remove([clock])
    mark = marks.get(PRUNE)
    return 0.0 if mark is None else _age_s(mark, marks.get(clock))


def _age_s(mark: StoredObject, now: StoredObject | None) -> float:
    """Return the age of a mark by the clock of the store; 0 if it is not known."""
    return 0.0 if now is None else now.modified_s - mark.modified_s
