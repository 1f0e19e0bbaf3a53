"""Files of one build, written to a store piece by piece."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeAlias

from controller.store.manifest import Manifest, StoredFile, dump_manifest
from controller.store.objects import (
    PIECE,
    ObjectStore,
    digest_of,
    manifest_key,
    piece_key,
)

WORKERS: Final = 4
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
    total = sum((folder / name).stat().st_size for name in names)
    done = 0
    files: list[StoredFile] = []
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="store") as pool:
        open_: list[Future[int]] = []
        try:
            for name in names:
                whole, size, pieces = hashlib.sha256(), 0, list[str]()
                for piece in _pieces(folder / name):
                    whole.update(piece)
                    size += len(piece)
                    digest = digest_of(piece)
                    pieces.append(digest)
                    open_.append(pool.submit(_store_piece, store, digest, piece))
                    # No further piece is read while as many are in transfer.
                    if len(open_) >= WORKERS:
                        done += open_.pop(0).result()
                        report(done, total)
                files.append(
                    StoredFile(
                        path=name,
                        bytes=size,
                        sha256=f"sha256:{whole.hexdigest()}",
                        pieces=tuple(pieces),
                    )
                )
            for one in open_:
                done += one.result()
                report(done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    manifest = empty.model_copy(update={"files": tuple(files)})
    data = dump_manifest(manifest)
    digest = digest_of(data)
    store.create(manifest_key(kind, manifest.fingerprint, digest), data)
    return digest, manifest


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
