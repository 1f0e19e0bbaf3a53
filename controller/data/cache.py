"""Built datasets, kept by what they were made from.

`CACHE/<key>/` holds a dataset's files and, written last, `dataset.json` with their sizes and
digests. A folder is complete when its manifest fits its files; anything else is built again. A
folder appears by one rename, so that two processes may build the same dataset at once.

After a crash of the machine, a file may have its size and not its bytes. Large files are therefore
forced to the disk, and believed while their times say that nobody touched them. Small ones are not:
they are compared with their digests each time.
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
from controller.data.sources.source_file import CHUNK
from controller.data.storage.hashing_writer import SMALL

MANIFEST = "dataset.json"

Manifest = dict[str, Json]
"""`files`: name → size and sha256; the rest is the builder's."""


def get_or_build(cache: Path, key: str, build: Callable[[Path], Manifest]) -> tuple[Path, Manifest]:
    """Return the folder and manifest of a dataset, built when it is not there whole.

    Args:
        cache: Folder of all datasets; created when absent.
        key: Digest of everything the dataset is made from.
        build: Writes the files into an empty folder and returns the manifest.
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
        text = json.dumps(manifest, ensure_ascii=False).encode()
        # What took long to build is forced to the disk.
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


def _has_large(manifest: Manifest) -> bool:
    files: Any = manifest["files"]
    return any(file["size"] > SMALL for file in files.values())


def valid_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a dataset if every file is what it says."""
    manifest = folder / MANIFEST
    try:
        text = manifest.read_bytes()
        content = json.loads(text)
        large = []
        for name, file in content["files"].items():
            path, size = f"{folder}/{name}", file["size"]
            if size > SMALL:
                large.append((path, size, file["sha256"]))
            elif not _is_small(path, size, file["sha256"]):
                return None
        if large and not _are_large(large, manifest, text):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    known: Manifest = content
    return known


def _is_small(path: str, size: int, sha256: str) -> bool:
    handle = os.open(path, os.O_RDONLY)
    try:
        data = os.read(handle, size + 1)
    finally:
        os.close(handle)
    return len(data) == size and hashlib.sha256(data).hexdigest() == sha256


def _are_large(files: list[tuple[str, int, str]], manifest: Path, text: bytes) -> bool:
    """Return whether files are what the manifest says; those are read that may have changed."""
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
        # Read once, believed from now on.
        write_atomic(manifest, text)
    return True


def _digest_on_disk(path: Path) -> str:
    """Return the digest of a file's bytes after forcing them to the disk: a copy may not be yet."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
        os.fsync(file.fileno())
    return digest.hexdigest()


def _publish(new: Path, folder: Path) -> bool:
    """Give a dataset its name; return whether it has it, and not one that was built meanwhile."""
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
        _put_away(folder)


def _put_away(folder: Path) -> None:
    away = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".broken-"))
    try:
        os.replace(folder, away)  # noqa: PTH105 - onto an empty folder, which Path.replace hides
    except FileNotFoundError:
        pass
    finally:
        shutil.rmtree(away, ignore_errors=True)
