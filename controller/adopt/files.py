"""Files of a service, downloaded once and put into the repository as a whole."""

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from backends.atomic_files import publish_file, write_atomic, write_atomic_lines
from backends.contract.backend import Backend
from backends.contract.inventory import HostedFile
from backends.excerpt import printable
from controller.adopt.hosted_spec import KeptFile
from controller.canonical import digest
from controller.errors import FtctlError
from controller.project.project import Project
from controller.repository_files import CannotRead, resolve_inside
from controller.spec.load import FOLDER

_FOLDER = "adopt"
"""Folder of the state folder in which files wait until their model is recorded."""
_CHUNK: Final = 1 << 20


def waiting_folder(project: Project) -> Path:
    """Return the folder of files that were downloaded and are not needed once all is recorded."""
    return project.state / _FOLDER


def fetch(backend: Backend, file: HostedFile, project: Project, place: str) -> Path:
    """Return the path of a downloaded file; download it unless an earlier run did.

    Args:
        backend: The backend of the service.
        file: The file.
        project: The repository.
        place: The service; two services may each have a file of one ID.

    Raises:
        FileMissing: The service does not give the file.
        BackendError: The file did not arrive.
    """
    waiting = waiting_folder(project)
    waiting.mkdir(parents=True, exist_ok=True)
    path = waiting / f"{digest([place, file.id])[:32]}.jsonl"
    if not path.exists():
        backend.download(file, path)
    return path


def describe(path: Path, shown: str, file_id: str | None = None) -> KeptFile:
    """Return digest, rows and size of a file, read piece by piece."""
    sha256, rows, size = hashlib.sha256(), 0, 0
    with path.open("rb") as file:
        for line in file:
            sha256.update(line)
            size += len(line)
            rows += bool(line.strip())
    return KeptFile(
        path=shown, sha256=sha256.hexdigest(), rows=rows, size_bytes=size, file_id=file_id
    )


def put_data(project: Project, fetched: Path, kept: KeptFile) -> bool:
    """Put a downloaded file into the repository; return False if it is there already.

    Raises:
        FtctlError: Another file has its name, or the folder leads out of the repository.
    """
    path = require_inside(project, f"{FOLDER}/{kept.path}")
    try:
        publish_file(fetched, path)
    except FileExistsError:
        if path.is_file() and describe(path, kept.path).sha256 == kept.sha256:
            return False
        message = f"{FOLDER}/{kept.path} is another file than the service's {kept.file_id}"
        raise FtctlError(message, "Choose another name: --name NAME; or move the file.") from None
    return True


def put_copies(project: Project, copies: Mapping[Path, Path]) -> list[Path]:
    """Copy files into the repository, and return the copies that were not there yet.

    Args:
        project: The repository.
        copies: The target of each file, by the file.

    Raises:
        FtctlError: Another file has the name of a target, or the folder leads out of the
            repository. Nothing was copied.
        OSError: A file cannot be read or written. Nothing was copied.
    """
    made: list[Path] = []
    try:
        for source, target in copies.items():
            if _put_copy(project, source, target):
                made.append(target)
    except (FtctlError, OSError):
        remove(made)
        raise
    return made


def _put_copy(project: Project, source: Path, target: Path) -> bool:
    shown = str(target.relative_to(project.root))
    require_inside(project, shown)
    if target.is_file() and describe(target, "").sha256 == describe(source, "").sha256:
        return False
    finished = waiting_folder(project) / target.name
    with source.open("rb") as file:
        write_atomic_lines(finished, iter(lambda: file.read(_CHUNK), b""))
    try:
        publish_file(finished, target)
    except FileExistsError:
        message = f"{shown} is another file than {printable(str(source))}; it was not changed"
        raise FtctlError(message, "Choose another name: --name NAME; or move the file.") from None
    finally:
        finished.unlink(missing_ok=True)
    return True


def remove(written: Iterable[Path]) -> None:
    """Remove files that this run wrote, of a model that is refused."""
    for path in written:
        path.unlink(missing_ok=True)


def put_spec(project: Project, file: str, text: str) -> bool:
    """Write a spec that does not exist yet; return False if it is there, with the same text.

    Raises:
        FtctlError: Another spec has its name, or the folder leads out of the repository.
    """
    path = require_inside(project, file)
    finished = waiting_folder(project) / path.name
    write_atomic(finished, text.encode())
    try:
        publish_file(finished, path)
    except FileExistsError:
        if path.read_bytes() == text.encode():
            return False
        message = f"{file} is the spec of another model; it was not changed"
        raise FtctlError(message, "Choose another name: --name NAME") from None
    finally:
        finished.unlink(missing_ok=True)
    return True


def require_inside(project: Project, file: str) -> Path:
    """Return the path of a file that is to be written.

    Raises:
        FtctlError: It leads out of the repository.
    """
    path = project.root / file
    try:
        resolve_inside(project.root, path)
    except CannotRead as error:
        raise FtctlError(f"{file}: {error.message}", "Remove the link.") from None
    return path


def forget_waiting(project: Project) -> None:
    """Remove the files that waited."""
    shutil.rmtree(waiting_folder(project), ignore_errors=True)


def overlap(train: Path, validation: Path) -> int:
    """Return how many rows of a validation file are rows of the training file, byte by byte."""
    counts: dict[bytes, int] = {}
    for row in _rows(validation):
        counts[row] = counts.get(row, 0) + 1
    # Only the validation file is held in memory: it is the smaller of the two.
    return sum(counts.pop(row, 0) for row in _rows(train))


def _rows(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if row := line.strip():
                yield hashlib.blake2b(row, digest_size=16).digest()
