"""Read the files of a repository that ftctl opens by itself: specs, `ftctl.yaml`, the lockfile.

Whoever may propose a change may propose a link. No file is read whose path leads out of the
repository, or to what is private in it; nothing is opened but plain files of a limited size, so
that a pipe or a device cannot stop a command.
"""

import os
import stat
from pathlib import Path

from controller.errors import FtctlError

_PRIVATE = frozenset({".git", ".ftctl"})
_SECRETS = ".env"
"""Beginnings of the names of files with keys."""

LINKED = "leaves the repository through a link"
"""Error for a path that leads elsewhere. It never names the target, which may be private."""


class CannotRead(FtctlError):
    """A file that is refused, or that the system does not let us read.

    Its message follows the file's name, which the caller adds.
    """


def read_inside(root: Path, path: Path, *, limit: int) -> bytes:
    """Return the bytes of a file of the repository.

    Args:
        root: The repository.
        path: A file in it.
        limit: Most bytes that are read.

    Raises:
        FileNotFoundError: There is no such file.
        CannotRead: It leads out of the repository or to `.git`, `.env` or `.ftctl`, is not a plain
            file, is longer than the limit, or cannot be read.
    """
    resolved = resolve_inside(root, path)
    try:
        return _read(resolved, limit)
    except FileNotFoundError:
        if path.is_symlink():
            raise CannotRead("is a link to nothing", "Copy the file in its place.") from None
        raise
    except OSError as error:
        raise CannotRead(f"cannot be read: {error.strerror}", "Check its permissions.") from None


def _read(path: Path, limit: int) -> bytes:
    # Not blocking: opening a pipe would wait for its writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise CannotRead("is a folder, not a file", "Rename it.")
        if not stat.S_ISREG(status.st_mode):
            raise CannotRead("is a pipe or a device, not a file", "Remove it.")
        content = b""
        if status.st_size <= limit:
            with os.fdopen(handle, "rb", closefd=False) as file:
                content = file.read(limit + 1)
        # What grows while it is read is longer than it said.
        size = max(status.st_size, len(content))
        if size > limit:
            message = f"is {size:,} bytes long; at most {limit:,} are read"
            raise CannotRead(message, "Move data into files of its own.")
    finally:
        os.close(handle)
    return content


def resolve_inside(root: Path, path: Path) -> Path:
    """Return where a path of the repository leads, every link followed.

    Raises:
        CannotRead: It leads out of the repository, or to what is private in it.
    """
    whole = str(path)
    if path.is_absolute() and whole.startswith(f"{root}/") and has_no_link("", whole[1:]):
        # Nor has the repository's own path: both are resolved already.
        resolved, below = path, whole[len(str(root)) + 1 :].split("/")
    else:
        home = root.resolve()
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError):
            raise CannotRead("is a link to itself", "Copy the file in its place.") from None
        if not resolved.is_relative_to(home):
            raise CannotRead(LINKED, "Copy the file in its place.")
        below = list(resolved.relative_to(home).parts)
    if any(_is_private(part) for part in below):
        raise CannotRead(
            "leads to a private file",
            "Copy a file in its place: .git, .env* and .ftctl are private.",
        )
    return resolved


def has_no_link(folder: str, below: str) -> bool:
    """Return whether a path is surely its own resolved form; that takes a tenth of resolving it.

    Args:
        folder: A resolved folder, without a slash at its end; the root of the disk is empty.
        below: The path, relative to the folder.
    """
    at, parts = folder, below.split("/")
    if ".." in parts:
        return False
    for part in parts:
        at = f"{at}/{part}"
        try:
            if stat.S_ISLNK(os.lstat(at).st_mode):
                return False
        except OSError:
            return False
    return True


def _is_private(name: str) -> bool:
    # Some disks know no case: there, .GIT is .git.
    folded = name.casefold()
    return folded in _PRIVATE or folded.startswith(_SECRETS)
