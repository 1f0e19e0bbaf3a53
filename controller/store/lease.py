"""Marks in the store by which pushes and a prune keep out of each other's way.

A push relies on pieces that are there already, and a prune removes pieces that no build names yet.
Each writes its own mark before it looks for the mark of the other, so at least one of two sees the
other. Marks of processes that died lose their force with age, by the store's own clock.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        StoreError: A prune is at work, or the store refuses.
    """
    mark = f"{_PUSH}{secrets.token_hex(16)}"
    store.create(mark, b"")
    try:
        seen = {one.key: one for one in store.find(LOCKS)}
        if PRUNE in seen and _age_s(seen[PRUNE], seen.get(mark)) < PRUNE_S:
            message = f"models are being pruned from the store {store.url}"
            raise StoreError(message, "Run the same command again in some minutes.")
        yield
    finally:
        # Without its mark a push is only less protected; the error that ends it matters more.
        with suppress(StoreError):
            store.remove([mark])


@contextmanager
def pruning(store: ObjectStore) -> Iterator[None]:
    """Hold the store for a prune for as long as the block takes.

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
        yield
    finally:
        with suppress(StoreError):
            if store.read(PRUNE) == mine:
                store.remove([PRUNE])


def _take(store: ObjectStore, mine: bytes) -> None:
    # A repeated request may find the mark that its first, unanswered one has made.
    if store.create(PRUNE, mine) or store.read(PRUNE) == mine:
        return
    clock = f"{LOCKS}clock-{secrets.token_hex(16)}"
    store.create(clock, b"")
    marks = {one.key: one for one in store.find(LOCKS)}
    store.remove([clock])
    other = marks.get(PRUNE)
    if other is not None and _age_s(other, marks.get(clock)) >= PRUNE_S:
        store.remove([PRUNE])
        if store.create(PRUNE, mine):
            return
    message = f"another prune of the store {store.url} is at work"
    raise StoreError(message, "Run the same command again in some minutes.")


def _age_s(mark: StoredObject, now: StoredObject | None) -> float:
    """Return the age of a mark by the clock of the store; 0 if it is not known."""
    return 0.0 if now is None else now.modified_s - mark.modified_s
