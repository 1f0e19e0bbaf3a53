"""Files at the server: found by a name made from their bytes, uploaded only when absent."""

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backends.base import BackendError
from backends.openai.matching import LocalFile
from backends.openai.patience import Patience
from backends.openai.wire import Body, Refused, Unclear, follow, objects

if TYPE_CHECKING:
    from backends.openai.client import Client

_CHUNK: Final = 1 << 20
_PAGE: Final = 1000
LARGEST_UPLOAD: Final = 512 * 1000 * 1000
"""Bytes; a larger file goes up in parts."""
LARGEST: Final = 8 * 1000**3
"""Bytes that the protocol takes at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file as the server has it."""

    id: str
    created_s: float
    uploaded: bool
    """Whether this run uploaded it."""


def read_local(path: Path) -> LocalFile:
    """Name a file by its bytes, without holding them.

    Raises:
        BackendError: No server takes a file of that size.
    """
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    if size > LARGEST:
        raise BackendError(
            f"{path.name} has {size / 1e9:.1f} GB; servers take at most {LARGEST / 1e9:.0f} GB",
            "train on fewer or shorter examples",
        )
    return LocalFile(path=path, name=f"ftctl-{digest.hexdigest()}.jsonl", size=size)


def find_files(client: "Client", wanted: LocalFile) -> Iterator[RemoteFile]:
    """Yield the server's copies of a file: same name, size and purpose, and usable."""
    after: str | None = None
    seen: set[str] = set()
    while True:
        page = client.list_files(limit=_PAGE, after=after)
        for file in objects(page):
            if _is_copy(file, wanted):
                yield _remote(file, uploaded=False)
        after = follow(page, seen, _PAGE)
        if after is None:
            return


def ensure_file(client: "Client", wanted: LocalFile, patience: Patience) -> RemoteFile:
    """Return the server's copy of a file; upload it when there is none.

    A copy too many costs nothing, so an upload without an answer is looked for and then repeated.

    Raises:
        Refused: The server does not take it.
        Unclear: The server gives no usable answer.
    """
    for tries in count(1):
        found = next(find_files(client, wanted), None)
        if found is not None:
            return found
        try:
            return _remote(_upload(client, wanted), uploaded=True)
        except (Refused, Unclear) as error:
            patience.wait(error, tries)
    raise AssertionError("an endless loop ended")


def _upload(client: "Client", wanted: LocalFile) -> Body:
    if wanted.size <= LARGEST_UPLOAD:
        file = client.upload_file(wanted.path, wanted.name)
    else:
        with tempfile.TemporaryDirectory() as folder:
            # The SDK sends the path's own name along, so the file gets one that is its digest.
            link = Path(folder) / wanted.name
            link.symlink_to(wanted.path.absolute())
            file = client.upload_in_parts(link)
    if not isinstance(file.get("id"), str) or not file["id"]:
        raise Unclear("the answer to the upload names no file")
    return file


def _is_copy(file: Body, wanted: LocalFile) -> bool:
    return (
        file.get("filename") == wanted.name
        and file.get("bytes") == wanted.size
        and str(file.get("purpose")) in {"None", "fine-tune"}
        and str(file.get("status")) not in {"error", "deleted"}
        and bool(file.get("id"))
    )


def _remote(file: Body, *, uploaded: bool) -> RemoteFile:
    created = file.get("created_at")
    return RemoteFile(
        id=str(file["id"]),
        created_s=float(created) if isinstance(created, int | float) else 0.0,
        uploaded=uploaded,
    )
