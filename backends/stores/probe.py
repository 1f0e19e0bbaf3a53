"""A test whether a store keeps to a condition, before anything relies on it.

Some servers accept "only if there is none" and overwrite all the same: two machines that hold one
lease would each believe that they are alone.
"""

import secrets

from backends.stores.objects import PROBES, ObjectStore, StoreError


def require_conditions(store: ObjectStore) -> None:
    """Write an object twice, and require that the second write is refused and changes nothing.

    Raises:
        StoreError: The store ignores the condition, loses what it took, or does not answer.
    """
    key = f"{PROBES}{secrets.token_hex(16)}"
    try:
        first, second = store.create(key, b"first"), store.create(key, b"second")
        found = store.read(key)
    finally:
        store.remove([key])
    # A repeated request finds the object that its first, unanswered one has made.
    if found is None or not (first or found == b"first"):
        raise StoreError(
            f"the store {store.url} does not keep what it accepts",
            "Use another store: a model would be lost in this one.",
        )
    if second or found != b"first":
        raise StoreError(
            f"the store {store.url} accepts the condition to overwrite nothing, and ignores it",
            "Use a server that honours `If-None-Match: *`, a shared folder or a hub repository.",
        )
