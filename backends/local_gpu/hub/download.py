"""Downloads into the hub's cache, which other programs of this machine share.

A file becomes visible when its contents are verified, so what is visible is complete. A download
that a crash or Ctrl-C ended continues where it stopped. Needs huggingface_hub.
"""

import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, Self, cast

from huggingface_hub import hf_hub_url
from huggingface_hub.constants import MAX_HTTP_DOWNLOAD_SIZE
from huggingface_hub.file_download import http_get
from huggingface_hub.utils._headers import build_hf_headers

from backends.atomic_files import sync_folder
from backends.contract.errors import BaseModelMissing, BaseModelUnknown, MachineFailed
from backends.contract.jobs import DownloadReport
from backends.local_gpu.hub.listing import HubFile, HubModel
from backends.local_gpu.hub.login import token
from backends.local_gpu.hub.refusals import AGAIN, hub_errors
from backends.lock_files import try_lock

_PIECE: Final = 1 << 20
_SHA256_DIGITS: Final = 64
_GB: Final = 1e9
_ROOM: Final = 50_000_000
"""Bytes that a disk must have left after a download."""
_WAIT_S: Final = 0.5
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_ELSEWHERE: Final = "Make room, or set HF_HUB_CACHE to a folder on another disk."
_WRITABLE: Final = "Set HF_HUB_CACHE to a folder that you may write."


def unreported(done: int, total: int) -> None:
    """Take the report of a download that nobody watches."""
    del done, total


def missing(model: HubModel, repository: Path) -> list[HubFile]:
    """Return the files of a model that are not in its folder of the cache."""
    folder = repository / "snapshots" / model.commit
    return [file for file in model.files if not (folder / file.name).is_file()]


def bytes_left(files: list[HubFile], repository: Path) -> int:
    """Return the number of bytes that files still need, without those of interrupted downloads."""
    left = 0
    for file in files:
        if not _blob(file, repository).is_file():
            part = _part(file, repository)
            left += file.size - (min(file.size, part.stat().st_size) if part.exists() else 0)
    return left


def require_downloadable(model: HubModel, files: list[HubFile]) -> None:
    """Require files that one download each can bring.

    Raises:
        BaseModelMissing: A file is too large.
    """
    for file in files:
        if file.size > MAX_HTTP_DOWNLOAD_SIZE:
            raise BaseModelMissing(
                f"{file.name} of {model.id} has {_in_words(file.size)}, and ftctl downloads files of "
                f"up to {_in_words(MAX_HTTP_DOWNLOAD_SIZE)}",
                f"Download the model with `hf download {model.id} --revision {model.commit}`.",
            )


def download(
    model: HubModel, files: list[HubFile], repository: Path, report: DownloadReport
) -> None:
    """Download files of a model. What an earlier call downloaded is not downloaded again.

    Args:
        model: The model, at one commit.
        files: Some of its files.
        repository: The model's folder in the hub's cache.
        report: Receives the number of bytes so far, and of all.

    Raises:
        MachineFailed: The disk has too little room, or cannot be written.
        BaseModelUnknown: The hub does not answer now, or broke off.
        BaseModelMissing: The hub refuses the model, or a file is too large to be downloaded here.
    """
    # Its client warns of each retry.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    require_downloadable(model, files)
    left = bytes_left(files, repository)
    try:
        (repository / "blobs").mkdir(parents=True, exist_ok=True)
        _require_room(model, left, repository)
        total = sum(file.size for file in files)
        meter = _Meter(report, total - left, total)
        for file in files:
            _place(model, file, repository, meter)
    except OSError as error:
        # Errors of the network have other names by now: this one is of the disk.
        remedy = _ELSEWHERE if error.errno in _FULL else _WRITABLE
        raise MachineFailed(f"the hub's cache cannot be written: {error}", remedy) from error


class _Meter:
    """Counts the bytes of all files of a download, in place of the library's progress bar."""

    def __init__(self, report: DownloadReport, done: int, total: int) -> None:
        self._report, self._done, self._total = report, done, total
        self._begun = 0

    def __call__(self, *, initial: int = 0, **_: object) -> "_Meter":
        """Stand for the class that the library makes a bar of."""
        # A server that knows no ranges sends the file from its start.
        self._done += initial - self._begun
        return self

    def begin(self, begun: int) -> None:
        """Begin a file of which some bytes are counted already."""
        self._begun = begun

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, count: float) -> None:
        """Count further bytes; a negative number takes back bytes that have to come again."""
        self._done += int(count)
        self._report(self._done, self._total)


def _place(model: HubModel, file: HubFile, repository: Path, meter: _Meter) -> None:
    blob = _blob(file, repository)
    if not blob.is_file():
        with _locked(repository.parent / ".locks" / repository.name / f"{blob.name}.ftctl.lock"):
            # Another process may have downloaded it in the meantime.
            if not blob.is_file():
                _complete(model, file, repository, meter)
    link = repository / "snapshots" / model.commit / file.name
    if not link.is_file():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)  # a link to a blob that somebody removed
        try:
            link.symlink_to(Path("..", "..", "blobs", blob.name))
        except FileExistsError:
            return
        sync_folder(link.parent)


def _complete(model: HubModel, file: HubFile, repository: Path, meter: _Meter) -> None:
    part = _part(file, repository)
    with part.open("r+b" if part.exists() else "w+b") as target:
        begun = target.seek(0, os.SEEK_END)
        if begun > file.size:
            meter.update(-file.size)
            target.truncate(begun := target.seek(0))
        _get(model, file, target, begun, meter)
        if begun and not _is_right(part, file):
            # The earlier part may be of another time or machine: once more, from the start.
            meter.update(-file.size)
            target.truncate(target.seek(0))
            _get(model, file, target, 0, meter)
        os.fsync(target.fileno())
    if not _is_right(part, file):
        part.unlink()
        raise BaseModelUnknown(
            f"{file.name} of {model.id} was damaged on its way: its checksum is not the hub's",
            AGAIN,
        )
    part.replace(_blob(file, repository))
    sync_folder(part.parent)


def _get(model: HubModel, file: HubFile, target: BinaryIO, begun: int, meter: _Meter) -> None:
    endpoint = os.environ.get("HF_ENDPOINT") or None
    url = hf_hub_url(model.id, file.name, revision=model.commit, endpoint=endpoint)
    meter.begin(begun)
    with hub_errors(model.id, model.commit):
        try:
            http_get(
                url,
                target,
                resume_size=begun,
                headers=build_hf_headers(token=token()),
                expected_size=file.size,
                # Whatever is called like a class of bars and returns one will do.
                tqdm_class=cast("Any", meter),
            )
        except OSError as error:
            if error.errno is not None or not str(error).startswith("Consistency check"):
                raise
            raise BaseModelUnknown(
                f"the hub broke off in the middle of {file.name} of {model.id}", AGAIN
            ) from error
        finally:
            target.flush()


def _is_right(part: Path, file: HubFile) -> bool:
    """Return True if a file has the contents that the hub names."""
    if part.stat().st_size != file.size:
        return False
    if len(file.digest) == _SHA256_DIGITS:
        whole = hashlib.sha256()
    else:
        # The name that git gives to a file.
        whole = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with part.open("rb") as content:
        for piece in iter(partial(content.read, _PIECE), b""):
            whole.update(piece)
    return whole.hexdigest() == file.digest


def _require_room(model: HubModel, left: int, repository: Path) -> None:
    free = shutil.disk_usage(repository).free
    if left and free < left + _ROOM:
        raise MachineFailed(
            f"{model.id} needs {_in_words(left)} more, and the disk of {repository} has "
            f"{_in_words(free)} left",
            _ELSEWHERE,
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that is released when this process dies; wait while another one downloads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while (handle := try_lock(path)) is None:
        time.sleep(_WAIT_S)
    try:
        yield
    finally:
        os.close(handle)


def _blob(file: HubFile, repository: Path) -> Path:
    return repository / "blobs" / file.digest


def _part(file: HubFile, repository: Path) -> Path:
    return repository / "blobs" / f"{file.digest}.ftctl.incomplete"


def _in_words(size: int) -> str:
    return f"{size / _GB:.1f} GB" if 10 * size >= _GB else f"{size / 1e6:.1f} MB"
