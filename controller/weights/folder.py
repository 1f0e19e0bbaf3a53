"""The folder of an export: written beside its place, and renamed once it is complete.

A process that dies leaves the old export or the new one, and never a part of either. What is in the
way and was not exported by ftctl is left alone.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from backends.atomic_files import locked, publish_dir, sync_folder
from controller.errors import FtctlError

MANIFEST: Final = "export.json"
_ANOTHER: Final = "Name another folder with `--out`, or move what is there away."


@contextmanager
def export_folder(target: Path, state: Path) -> Iterator[Path]:
    """Yield a new, empty folder that becomes the target when the block ends without an error.

    Args:
        target: The folder to make, or an earlier export to replace.
        state: Folder of this machine's files; holds the lock.

    Raises:
        FtctlError: The target is not an export of ftctl, or another process writes it.
    """
    key = hashlib.sha256(str(target).encode()).hexdigest()[:16]
    partial = target.with_name(f".{target.name}.partial")
    former = target.with_name(f".{target.name}.former")
    with locked(state / "exports" / f"{key}.lock") as free:
        if not free:
            message = f"another ftctl is exporting to {target}"
            raise FtctlError(message, "Wait until it has ended, or name another folder.")
        if former.exists() and not target.exists():
            # An earlier process died between two renames.
            former.replace(target)
        require_replaceable(target)
        for left in (partial, former):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        require_replaceable(target)
        if target.exists():
            target.replace(former)
        publish_dir(partial, target)
        shutil.rmtree(former, ignore_errors=True)
        sync_folder(target.parent)


def require_replaceable(target: Path) -> None:
    """Require that a folder is absent, empty, or an earlier export that nothing was added to.

    Raises:
        FtctlError: Something of a person's would be lost.
    """
    if not (target.exists() or target.is_symlink()):
        return
    if target.is_symlink() or not target.is_dir():
        raise FtctlError(f"{target} exists and is not a folder", _ANOTHER)
    inside = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    if not inside:
        return
    manifest = read_manifest(target)
    if manifest is None:
        raise FtctlError(f"{target} exists and is not an export of ftctl", _ANOTHER)
    added = sorted(inside - manifest["files"].keys() - {MANIFEST})
    if added:
        raise FtctlError(f"{target} has files that ftctl did not export: {added[0]}", _ANOTHER)


def read_manifest(folder: Path) -> Mapping[str, Any] | None:
    """Return the manifest of an export; None if the folder has none."""
    try:
        value = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    known = isinstance(value, dict) and isinstance(value.get("files"), dict)
    return value if known else None


def files_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Let everybody read each file of an export; return size and SHA-256, without the manifest."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != MANIFEST:
            # Some libraries write files that only their owner reads, and servers are other users.
            path.chmod(0o644)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[name] = {"bytes": path.stat().st_size, "sha256": digest}
    return found
