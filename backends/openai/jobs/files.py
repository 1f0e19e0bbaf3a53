"""Files at the server: found by a name made from their bytes, uploaded only when absent."""

import hashlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backends.contract.errors import BackendError
from backends.openai.api.protocol import (
    Body,
    OutcomeUnknown,
    Rejected,
    clean,
    number,
    text_of,
)
from backends.openai.api.retry_policy import LONGEST_POLL_S
from backends.openai.jobs.job_matching import LocalFile
from backends.openai.jobs.submit_context import SubmitContext
from backends.openai.limits import UPLOAD_BYTES

if TYPE_CHECKING:
    from backends.openai.api.client import Client

_PAGE: Final = 1000
PART_BYTES: Final = UPLOAD_BYTES
"""Largest file for a single request, in bytes; a larger file is uploaded in parts."""
_UPLOADED: Final = frozenset({"uploaded"})
_AT_WORK: Final = frozenset({"pending", "running", "notrunning", "processing", "queued"})
"""Statuses of a file that the server is reading, at Azure and at other servers."""
_BROKEN: Final = frozenset({"error", "failed", "deleted", "deleting", "cancelled", "canceled"})
_INVALID: Final = frozenset({400, 404, 422})
_UNREAD: Final = ("not ready", "notready", "not processed", "not been processed", "being processed")
_NO_SUCH_ADDRESS: Final = frozenset({404, 405, 501})


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file as the server has it."""

    id: str
    created_s: float
    uploaded: bool
    """True if this run uploaded the file."""
    status: str = ""
    """The server's status of the file; empty if the server reports no status."""


def read_local(path: Path, most_bytes: int | None) -> LocalFile:
    """Return a file with a name made from its bytes, without holding them in memory.

    Args:
        path: The file.
        most_bytes: Largest file that the server accepts; None where that is not known.

    Raises:
        BackendError: The file is larger than `most_bytes`.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    if most_bytes is not None and size > most_bytes:
        raise BackendError(
            f"{path.name} has {size / 1e6:,.0f} MB; the server takes at most "
            f"{most_bytes / 1e6:,.0f} MB",
            "Train on fewer or shorter examples.",
        )
    return LocalFile(path=path, name=f"ftctl-{digest}.jsonl", size=size)


def find_files(client: "Client", local: LocalFile) -> Iterator[RemoteFile]:
    """Yield the server's copies of a file: same name, size and purpose, and usable."""
    for file in client.files_named(local.name, limit=_PAGE):
        if _is_copy(file, local):
            yield _remote(file, uploaded=False)


def ensure_file(context: SubmitContext, local: LocalFile) -> RemoteFile:
    """Return the server's copy of a file, ready to train on; upload the file if there is no copy.

    A surplus copy costs nothing. So after an upload without an answer, search for the copy, and
    upload again if it is missing.

    Raises:
        BackendError: The server cannot read the file.
        Rejected: The server does not accept the file.
        OutcomeUnknown: The server gives no usable answer.
    """
    client = context.client

    def find_or_upload() -> RemoteFile:
        copy = next(find_files(client, local), None)
        return copy or _remote(_upload(client, local), uploaded=True)

    reason = f"{context.server} to take the file {local.path.name}"
    limits = context.policy.of_uploads
    file = client.repeat(find_or_upload, limits, lambda error: f"{reason}: {error}")
    return _processed(context, file)


def is_unread_file(error: Rejected) -> bool:
    """Return True if a server refused a job because it has not read the job's files yet."""
    said = f"{error.code} {error.message}".lower()
    return error.status in _INVALID and "file" in said and any(mark in said for mark in _UNREAD)


def _processed(context: SubmitContext, file: RemoteFile) -> RemoteFile:
    """Wait until the server has read a file.

    At some servers a file stays `uploaded`, and jobs start all the same. So after
    `policy.uploaded_s`, accept that status. A server that reports that it is reading gets
    `policy.processed_s`.

    Raises:
        BackendError: The server cannot read the file, or does not finish in time.
    """
    policy, server = context.policy, context.server
    started_s = time.monotonic()
    pause_s = policy.pause_s
    status, details = file.status, ""
    while status in _UPLOADED or status in _AT_WORK:
        waited_s = time.monotonic() - started_s
        most_s = policy.uploaded_s if status in _UPLOADED else policy.processed_s
        if waited_s >= most_s:
            if status in _UPLOADED:
                return file
            raise BackendError(
                f"{server} is still reading the file {file.id} ({status}) after {most_s:g} s",
                "Run the same command again later: the file is not uploaded again.",
            )
        reason = f"{server} to read the file {file.id}"
        context.waiting.sleep(min(pause_s, most_s - waited_s), reason, most_s=most_s)
        pause_s = min(2 * pause_s, LONGEST_POLL_S)
        try:
            seen = context.client.retrieve_file(file.id)
        except OutcomeUnknown:
            continue
        status = _status(seen)
        details = clean(seen.get("status_details") or "it does not say why")
    if status in _BROKEN:
        raise BackendError(
            f"{server} cannot read the file {file.id}: {details or 'it does not say why'}",
            "Delete it there, then run the same command again.",
        )
    return file


def _upload(client: "Client", local: LocalFile) -> Body:
    file: Body | None = None
    if local.size > PART_BYTES:
        with tempfile.TemporaryDirectory() as folder:
            # The SDK sends the path's own name along, so the file gets one that is its digest.
            link = Path(folder) / local.name
            link.symlink_to(local.path.absolute())
            try:
                file = client.upload_in_parts(link)
            except Rejected as error:
                # A server without uploads in parts may accept the whole file at once.
                if error.status not in _NO_SUCH_ADDRESS:
                    raise
    if file is None:
        file = client.upload_file(local.path, local.name)
    if not text_of(file.get("id")):
        raise OutcomeUnknown("the answer to the upload names no file")
    return file


def _is_copy(file: Body, local: LocalFile) -> bool:
    return (
        file.get("filename") == local.name
        # A service that reports no size has only the name, which is the digest.
        and file.get("bytes") in (None, local.size)
        and str(file.get("purpose")) in {"None", "fine-tune"}
        and _status(file) not in _BROKEN
        and bool(file.get("id"))
    )


def _remote(file: Body, *, uploaded: bool) -> RemoteFile:
    return RemoteFile(
        id=str(file["id"]),
        created_s=number(file.get("created_at")) or 0.0,
        uploaded=uploaded,
        status=_status(file),
    )


def _status(file: Body) -> str:
    return clean(file.get("status") or "").lower()
