"""A store in a folder that several machines share."""

import contextlib
import os
import shlex
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from backends.atomic_files import publish_file, sync_folder
from backends.stores.objects import StoredObject, StoreUnavailable

_SHARED: Final = "Mount the folder, and make it writable for this user."
_PARTIAL: Final = ".partial-"
_STALE_S: Final = 86_400.0
"""Age after which a partial file belongs to a process that died."""
_ATTEMPTS: Final = 100
"""Folders that are made for one file, while others remove them as empty."""


class FolderStore:
    """Implements `SharedStore` with a file for each object."""

    def __init__(self, folder: Path) -> None:
        self.url = str(folder)
        self._folder = folder

    def create(self, key: str, data: bytes) -> bool:
        """Write a file and give it its name, unless there is one of that name."""
        path = self._folder / key
        with self._translated(), self._partial(path, data) as partial:
            try:
                publish_file(partial, path)
            except FileExistsError:
                return False
            return True

    def write(self, key: str, data: bytes) -> None:
        """Write a file and give it its name, whatever had that name."""
        path = self._folder / key
        with self._translated(), self._partial(path, data) as partial:
            partial.replace(path)

    def read(self, key: str) -> bytes | None:
        """Return a file's content."""
        with self._translated():
            try:
                return (self._folder / key).read_bytes()
            except FileNotFoundError:
                self._require_folder()
                return None

    def has(self, key: str) -> bool:
        """Return whether there is a file of that name."""
        with self._translated():
            return (self._folder / key).is_file()

    def find(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the files below a folder, without those that are being written."""
        with self._translated():
            self._require_folder()
            for path in _files_below(self._folder / prefix):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    stat = path.stat()
                    if path.name.startswith(_PARTIAL):
                        if time.time() - stat.st_mtime > _STALE_S:
                            _tidy(path)
                    elif path.is_file():
                        yield StoredObject(
                            key=path.relative_to(self._folder).as_posix(),
                            bytes=stat.st_size,
                            modified_s=stat.st_mtime,
                        )

    def remove(self, keys: Collection[str]) -> None:
        """Remove files, and the folders that are empty then."""
        with self._translated():
            for key in keys:
                path = self._folder / key
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # not empty
                    path.parent.rmdir()
                    sync_folder(path.parent.parent)

    @contextlib.contextmanager
    def _partial(self, path: Path, data: bytes) -> Iterator[Path]:
        """Write a file under a name of its own, beside the path that it is to have."""
        handle, partial = self._begin(path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # Other people of the group read it, as far as the folder lets them.
            partial.chmod(0o644)
            yield partial
        finally:
            partial.unlink(missing_ok=True)

    def _begin(self, folder: Path) -> tuple[int, Path]:
        """Open a new partial file; another machine may remove its folder, empty as yet, meanwhile."""
        attempt = 0
        while True:
            attempt += 1
            # A share that is not mounted would otherwise be this machine's own folder.
            self._require_folder()
            try:
                folder.mkdir(parents=True, exist_ok=True)
                handle, name = tempfile.mkstemp(dir=folder, prefix=_PARTIAL)
            except (FileNotFoundError, FileExistsError):  # the latter where mkdir looks again
                if attempt == _ATTEMPTS:
                    raise
            else:
                return handle, Path(name)

    def _require_folder(self) -> None:
        """Tell an empty store from one that is not mounted."""
        if not self._folder.is_dir():
            remedy = f"Mount it, or make it: mkdir -p {shlex.quote(self.url)}"
            raise StoreUnavailable(f"the store {self.url} is not there", remedy)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"the store {self.url} cannot be used: {error.strerror or error}"
            raise StoreUnavailable(message, _SHARED) from error


def _files_below(folder: Path) -> list[Path]:
    """Return what is no folder below a folder, in order.

    Raises:
        OSError: Part of it cannot be listed. Whoever prunes would take that for absent.
    """
    walk = os.walk(folder, onerror=_raise_unless_absent)
    return sorted(Path(place, name) for place, _, names in walk for name in names)


def _raise_unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # removed meanwhile, or never made
        raise error


def _tidy(path: Path) -> None:
    """Remove what a dead process left, if this user may."""
    with contextlib.suppress(OSError):
        path.unlink()
