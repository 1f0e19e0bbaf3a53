"""Files of one build, read from a store piece by piece; each piece is verified before it is kept."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from backends.atomic_files import sync_folder
from backends.stores.manifest import Manifest, StoredFile, parse_manifest
from backends.stores.objects import (
    ObjectStore,
    StoreError,
    checked,
    digest_of,
    hex_of,
    manifest_key,
    piece_key,
)
from backends.stores.push import WORKERS, Report

_SPARE: int = 64 << 20
"""Bytes of the disk that a download leaves free."""


def read_manifest(store: ObjectStore, kind: str, fingerprint: str, digest: str) -> Manifest:
    """Read the manifest that a lockfile names.

    Raises:
        StoreError: It is missing, damaged, or that of another build.
    """
    key = manifest_key(kind, fingerprint, digest)
    manifest = parse_manifest(checked(store, key, digest), f"{store.url}: object {key}")
    if manifest.fingerprint != fingerprint:
        message = f"{store.url}: object {key} is the manifest of {manifest.fingerprint}"
        raise StoreError(message, "Restore the lockfile: `git checkout -- finetunes/ftctl.lock`.")
    return manifest


def pull_files(store: ObjectStore, manifest: Manifest, folder: Path, report: Report) -> None:
    """Read files of a store into a folder; what an earlier process left there is continued.

    Args:
        store: The store.
        manifest: The files.
        folder: A folder of this machine's own, which nobody else writes to now.
        report: Receives progress.

    Raises:
        StoreError: A piece is missing or damaged, or the store does not answer.
        OSError: The disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_others(folder, {file.path for file in manifest.files})
    _require_room(folder, manifest)
    done, total = 0, manifest.bytes
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="store") as pool:
        for file in manifest.files:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("r+b" if path.exists() else "w+b") as target:
                whole, kept = _kept(target, file, manifest.piece_bytes)
                done += target.tell()
                report(done, total)
                for piece in _fetched(store, file.pieces[kept:], pool):
                    target.write(piece)
                    whole.update(piece)
                    done += len(piece)
                    report(done, total)
                target.flush()
                os.fsync(target.fileno())
                size = target.tell()
            if size != file.bytes or f"sha256:{whole.hexdigest()}" != file.sha256:
                path.unlink()
                raise StoreError(
                    f"{store.url}: the pieces of {file.path} do not make the file that was stored",
                    "Type `ftctl store verify`, which names what is damaged.",
                )
    sync_folder(folder)


def _kept(target: BinaryIO, file: StoredFile, piece_bytes: int) -> tuple["hashlib._Hash", int]:
    """Return the digest and number of the whole pieces at the start of a file; cut off the rest."""
    whole, kept, end = hashlib.sha256(), 0, 0
    for digest in file.pieces:
        piece = target.read(piece_bytes)
        if digest_of(piece) != digest:
            break
        whole.update(piece)
        kept, end = kept + 1, end + len(piece)
    target.seek(end)
    target.truncate()
    return whole, kept


def _fetched(
    store: ObjectStore, digests: tuple[str, ...], pool: ThreadPoolExecutor
) -> Iterator[bytes]:
    """Yield pieces in order; a few are read ahead."""
    ahead: list[Future[bytes]] = []
    try:
        for digest in digests:
            ahead.append(pool.submit(checked, store, piece_key(digest), digest))
            if len(ahead) >= WORKERS:
                yield ahead.pop(0).result()
        while ahead:
            yield ahead.pop(0).result()
    finally:
        for one in ahead:
            one.cancel()


def _remove_others(folder: Path, names: set[str]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_symlink() or (
            path.is_file() and path.relative_to(folder).as_posix() not in names
        ):
            path.unlink()


def _require_room(folder: Path, manifest: Manifest) -> None:
    """Require room on the disk before anything is read.

    Raises:
        StoreError: There is not enough.
    """
    here = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    missing = max(0, manifest.bytes - here)
    free = shutil.disk_usage(folder).free
    if missing + _SPARE > free:
        raise StoreError(
            f"{manifest.model_id} needs {missing / 1e6:,.0f} MB more in {folder}, "
            f"and {free / 1e6:,.0f} MB are free",
            "Free some space, or name a folder on a larger disk: export FTCTL_STATE_DIR=DIR",
        )


def incoming_folder(state: Path, digest: str) -> Path:
    """Return the folder in which a download is put together."""
    return state / "incoming" / hex_of(digest)[:32]
