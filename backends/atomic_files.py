"""Writing files so that a crash at any instant leaves the old bytes or the new, never half.

Used by both halves. Nothing here knows what the bytes mean.
"""

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from backends.lock_files import try_lock

_PIECE: Final = 1 << 20
_NO_LINKS: Final = frozenset({errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK})
"""Errors of file systems on which two names cannot stand for one file."""


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file: temp file beside it, fsync, rename, fsync of the folder.

    Args:
        path: The file; its folder is created when absent.
        data: The new content.

    Raises:
        OSError: Nothing was changed (disk full, no permission, …).
    """
    write_atomic_lines(path, (data,))


def write_atomic_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Replace a file as `write_atomic` does, by lines that need not fit in memory.

    Args:
        path: The file; its folder is created when absent.
        lines: The new content, with line ends.

    Raises:
        OSError: Nothing was changed (disk full, no permission, …).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _named(path):
        _replace(path, lines)
    sync_folder(path.parent)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give errors the name of the file; the system names none, or a temporary one."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(error.filename).name.startswith(f".{path.name}."):
            error.filename, error.filename2 = os.fspath(path), None
        raise


def _replace(path: Path, lines: Iterable[bytes]) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes 0600; a file that a team commits is as open as its folder's others.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def publish_file(finished: Path, final: Path) -> None:
    """Give a finished file a name that no file has yet: the whole file is there, or none of it.

    Args:
        finished: The file, already on the disk (fsync); it stays.
        final: Its further name; its folder is created when absent.

    Raises:
        FileExistsError: There is a file of that name. It was not changed.
        OSError: Nothing was changed.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(finished, final)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final)) from None
        with finished.open("rb") as file:
            write_atomic_lines(final, iter(partial(file.read, _PIECE), b""))
    else:
        sync_folder(final.parent)


def append_line(path: Path, line: bytes) -> None:
    """Append one line and fsync; a torn line is the reader's to skip.

    A crash or a full disk tears the last line. Nothing is appended to that: the next line begins
    after a line end of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            is_torn = file.read(1) != b"\n"
        else:
            is_torn = False
        file.write(b"\n" * is_torn + line.rstrip(b"\n") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish_dir(unfinished: Path, final: Path) -> None:
    """Give a finished folder its name: after a crash, the whole folder is there or none of it."""
    for path in unfinished.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(unfinished)
    unfinished.replace(final)
    sync_folder(final.parent)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Try to hold a lock file; the kernel releases it when the process dies.

    Yields:
        True when this process holds the lock now, False when another one does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = try_lock(path)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)
