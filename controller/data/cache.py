"""Built datasets, kept by what they were made from.

`CACHE/<key>/` holds a dataset's files and, written last, `dataset.json` with their sizes and
digests. A folder is complete when its manifest fits its files; anything else is built anew. A
folder appears by one rename, so that two processes may build the same dataset at once.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from backends.base import Json
from backends.durable import sync_folder, write_atomic
from controller.data.files import CHUNK
from controller.data.garbage import touch

MANIFEST = "dataset.json"

_ABANDONED_S = 24 * 3600
"""No build takes a day: what is older was killed."""

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
    manifest = whole(folder)
    if manifest is not None:
        touch(folder)
        return folder, manifest
    cache.mkdir(parents=True, exist_ok=True)
    _sweep(cache)
    new = Path(tempfile.mkdtemp(dir=cache, prefix=".build-"))
    try:
        manifest = build(new)
        write_atomic(new / MANIFEST, json.dumps(manifest, ensure_ascii=False).encode())
        new.chmod(0o755)
        _publish(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder, manifest


def _sweep(cache: Path) -> None:
    """Remove what builds left that were killed."""
    for left in cache.glob(".*-*"):
        try:
            age_s = time.time() - left.stat().st_mtime
        except FileNotFoundError:
            continue
        if age_s > _ABANDONED_S:
            shutil.rmtree(left, ignore_errors=True)


def whole(folder: Path) -> Manifest | None:
    """Return the manifest of a dataset if every file is what it says."""
    manifest = folder / MANIFEST
    try:
        content = json.loads(manifest.read_bytes())
        written_ns = manifest.stat().st_mtime_ns
        doubtful = []
        for name, file in content["files"].items():
            status = (folder / name).stat()
            if status.st_size != file["size"]:
                return None
            # A file touched after the manifest, or in the same tick, may have been changed.
            if max(status.st_mtime_ns, status.st_ctime_ns) >= written_ns:
                doubtful.append((folder / name, file["sha256"]))
        if any(_sha256(path) != sha256 for path, sha256 in doubtful):
            return None
        if doubtful:
            # Read once, believed from now on.
            write_atomic(manifest, manifest.read_bytes())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    known: Manifest = content
    return known


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _publish(new: Path, folder: Path) -> None:
    while True:
        try:
            new.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            sync_folder(folder.parent)
            return
        if whole(folder) is not None:
            # Another process was faster, with the same bytes.
            return
        _put_away(folder)


def _put_away(folder: Path) -> None:
    away = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".broken-"))
    try:
        os.replace(folder, away)  # noqa: PTH105 - onto an empty folder, which Path.replace hides
    except FileNotFoundError:
        pass
    finally:
        shutil.rmtree(away, ignore_errors=True)
