"""Built datasets, by the digest of their inputs.

`CACHE/<key>/` holds a dataset's files and, written last, `dataset.json` with their sizes and
digests. A folder is complete if its manifest fits its files; otherwise it is built again. A folder
appears by one rename, so that two processes may build the same dataset at once.

After a crash of the machine, a file may have its size and not its bytes. Large files are therefore
forced to the disk, and trusted while their times show no change. Small files are not forced: they
are compared with their digests each time.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backends.atomic_files import sync_folder, write_atomic
from backends.contract.inspector import Json
from controller.data.cache_gc import touch
from controller.data.storage.hashing_writer import SMALL

MANIFEST = "dataset.json"

Manifest = dict[str, Json]
"""`files`: name → size and sha256; the other keys are the builder's."""


def get_or_build(
    cache: Path, key: str, build: Callable[[Path], Manifest | None]
) -> tuple[Path, Manifest] | None:
    """Return the folder and manifest of a dataset, built unless it is complete in the cache.

    Args:
        cache: Folder of all datasets; created when absent.
        key: Digest of all inputs.
        build: Writes the files into an empty folder and returns the manifest; None to give up.

    Returns:
        None if `build` gave up.
    """
    folder = cache / key
    manifest = valid_manifest(folder)
    if manifest is not None:
        touch(folder)
        return folder, manifest
    cache.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=cache, prefix=".build-"))
    is_published = False
    try:
        manifest = build(new)
        if manifest is None:
            return None
        text = json.dumps(manifest, ensure_ascii=False).encode()
        # Force to the disk what took long to build.
        is_large = _has_large(manifest)
        if is_large:
            write_atomic(new / MANIFEST, text)
        else:
            (new / MANIFEST).write_bytes(text)
        new.chmod(0o755)
        is_published = _publish(new, folder)
        if is_large:
            sync_folder(cache)
    finally:
        if not is_published:
            shutil.rmtree(new, ignore_errors=True)
    return folder, manifest


def valid_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a dataset if all files fit it."""
    manifest = folder / MANIFEST
    try:
        text = manifest.read_bytes()
        content = json.loads(text)
        large = []
        for name, file in content["files"].items():
            path, size = f"{folder}/{name}", file["size"]
            if size > SMALL:
                large.append((path, size, file["sha256"]))
            elif not _fits_small(path, size, file["sha256"]):
                return None
        if large and not _fit_large(large, manifest, text):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    known: Manifest = content
    return known


def _has_large(manifest: Manifest) -> bool:
    files: Any = manifest["files"]
    return any(file["size"] > SMALL for file in files.values())


def _fits_small(path: str, size: int, sha256: str) -> bool:
    handle = os.open(path, os.O_RDONLY)
    try:
        data = os.read(handle, size + 1)
    finally:
        os.close(handle)
    return len(data) == size and hashlib.sha256(data).hexdigest() == sha256


def _fit_large(files: list[tuple[str, int, str]], manifest: Path, text: bytes) -> bool:
    """Return whether files fit the manifest; read the files that may have changed."""
    written_ns = manifest.stat().st_mtime_ns
    was_read = False
    for path, size, sha256 in files:
        status = Path(path).stat()
        if status.st_size != size:
            return False
        # A file touched after the manifest, or in the same tick, may have been changed.
        if max(status.st_mtime_ns, status.st_ctime_ns) >= written_ns:
            if _digest_on_disk(Path(path)) != sha256:
                return False
            was_read = True
    if was_read:
        # A younger manifest spares the next reading.
        write_atomic(manifest, text)
    return True


def _digest_on_disk(path: Path) -> str:
    """Return the digest of a file after forcing it to the disk, where a copy may not be yet."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return digest


def _publish(new: Path, folder: Path) -> bool:
    """Rename a dataset to its folder; return False if another process published it first."""
    while True:
        try:
            new.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return True
        if valid_manifest(folder) is not None:
            # Another process was faster, with the same bytes.
            return False
        _remove_damaged(folder)


def _remove_damaged(folder: Path) -> None:
    away = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".broken-"))
    try:
        os.replace(folder, away)  # noqa: PTH105 - onto an empty folder, which Path.replace hides
    except FileNotFoundError:
        pass
    finally:
        shutil.rmtree(away, ignore_errors=True)
