"""Files of a service, downloaded once and put into the repository as a whole."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from backends.atomic_files import publish_file, write_atomic
from backends.contract.backend import Backend
from backends.contract.inventory import HostedFile
from controller.adopt.hosted_spec import KeptFile
from controller.canonical import digest
from controller.errors import FtctlError
from controller.project.project import Project
from controller.repository_files import CannotRead, resolve_inside
from controller.spec.load import FOLDER

_FOLDER = "adopt"
"""Folder of the state folder in which files wait until their model is recorded."""


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
