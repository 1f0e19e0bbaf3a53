"""Files of one build, written to a store piece by piece."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeAlias

from pydantic import ValidationError

from backends.excerpt import excerpt
from backends.stores.manifest import Manifest, StoredFile, dump_manifest
from backends.stores.objects import (
    PIECE,
    ObjectStore,
    StoreError,
    digest_of,
    manifest_key,
    piece_key,
)

WORKERS: Final = 3
"""Pieces in transfer at once; each takes two or three times 8 MiB of memory."""
Report: TypeAlias = Callable[[int, int], None]
"""Receives the bytes so far, and of all files."""


def push_files(
    store: ObjectStore,
    kind: str,
    empty: Manifest,
    folder: Path,
    names: Sequence[str],
    report: Report,
) -> tuple[str, Manifest]:
    """Write files to a store, and their manifest last. Pieces that are there are not sent again.

    Args:
        store: The store, which was probed.
        kind: `BUILDS` or `ANSWERS`.
        empty: The manifest without files.
        folder: Folder of the files.
        names: Their names relative to it.
        report: Receives progress.

    Returns:
        The manifest and its digest.

    Raises:
        StoreError: The store refuses or does not answer.
        OSError: A file cannot be read.
    """
    _require_names(names)
    total = sum((folder / name).stat().st_size for name in names)
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="store") as pool:
        sending = _Sending(store, pool, lambda done: report(done, total))
        try:
            files = tuple(_file(name, folder / name, sending) for name in names)
            sending.finish()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    manifest = empty.model_copy(update={"files": files})
    data = dump_manifest(manifest)
    digest = digest_of(data)
    store.create(manifest_key(kind, manifest.fingerprint, digest), data)
    return digest, manifest


def _require_names(names: Sequence[str]) -> None:
    """Require names that a manifest can hold, before anything is sent.

    Raises:
        StoreError: One is not printable, is not UTF-8, or leads out of its folder.
    """
    for name in names:
        try:
            StoredFile(path=name, bytes=0, sha256=digest_of(b""), pieces=())
        except ValidationError:
            message = f"the store takes no file that is called {excerpt(name)}"
            raise StoreError(message, "Rename the file.") from None


class _Sending:
    """Pieces in transfer, a few at a time."""

    def __init__(
        self, store: ObjectStore, pool: ThreadPoolExecutor, report: Callable[[int], None]
    ) -> None:
        self._store, self._pool, self._report = store, pool, report
        self._open: list[Future[int]] = []
        self._done = 0

    def add(self, digest: str, piece: bytes) -> None:
        """Send a piece; wait while as many as may be are in transfer."""
        self._open.append(self._pool.submit(_store_piece, self._store, digest, piece))
        if len(self._open) >= WORKERS:
            self._wait_for_one()

    def finish(self) -> None:
        """Wait for all pieces."""
        while self._open:
            self._wait_for_one()

    def _wait_for_one(self) -> None:
        self._done += self._open.pop(0).result()
        self._report(self._done)


def _file(name: str, path: Path, sending: _Sending) -> StoredFile:
    """Send the pieces of a file, and return its entry in the manifest."""
    whole, size, pieces = hashlib.sha256(), 0, list[str]()
    for piece in _pieces(path):
        whole.update(piece)
        size += len(piece)
        digest = digest_of(piece)
        pieces.append(digest)
        sending.add(digest, piece)
    sha256 = f"sha256:{whole.hexdigest()}"
    return StoredFile(path=name, bytes=size, sha256=sha256, pieces=tuple(pieces))


def _store_piece(store: ObjectStore, digest: str, piece: bytes) -> int:
    key = piece_key(digest)
    if not store.has(key):
        store.create(key, piece)
    return len(piece)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        # Weights are read once: they need not push other files out of the system's memory.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while piece := file.read(PIECE):
            yield piece
