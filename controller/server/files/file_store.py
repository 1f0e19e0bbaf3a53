"""Storage of the files that clients upload, by ID."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
from pydantic import JsonValue
from pydantic_core import from_json

from backends.atomic_files import sync_folder
from controller.server.api.errors import ApiError, invalid, not_found
from controller.server.limits import Limits
from controller.server.record_store import RecordStore, new_id

FINE_TUNE: Final = "fine-tune"
RESULTS: Final = "fine-tune-results"
PURPOSES: Final = (FINE_TUNE, "assistants", "batch", "vision", "user_data", "evals")
"""Purposes that the protocol allows; only files with the first are used here."""
EXPIRES_S: Final = (3600, 2_592_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """Metadata of one file."""

    id: str
    created_s: float
    filename: str
    purpose: str
    bytes: int
    sha256: str
    expires_s: float | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """Return the file object of the protocol."""
        shown: dict[str, JsonValue] = {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": int(self.created_s),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }
        return shown if self.expires_s is None else {**shown, "expires_at": int(self.expires_s)}


class FileStore:
    """Files in one folder: `<id>.bin` has the content, `<id>.json` the metadata."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self.records = RecordStore(folder, FileRecord)
        for path in folder.glob("*.bin"):
            # A crash between content and record left this file, which was never acknowledged.
            if self.records.get(path.stem) is None:
                path.unlink()
        self.incoming = folder / ".incoming"
        self.incoming.mkdir(exist_ok=True)
        for path in self.incoming.iterdir():
            path.unlink()

    def get(self, file_id: str, param: str = "id") -> FileRecord:
        """Return the metadata of a file.

        Raises:
            ApiError: No file has that ID.
        """
        record = self.records.get(file_id)
        if record is None or (record.expires_s or time.time() + 1) <= time.time():
            raise not_found("File object", file_id, param)
        return record

    def content(self, record: FileRecord) -> Path:
        """Return the path of a file's content."""
        return self._folder / f"{record.id}.bin"

    def temporary(self) -> Path:
        """Return a new path for a file that is being received."""
        return self.incoming / new_id("")

    def check_room(self) -> None:
        """Check that one more file is allowed.

        Raises:
            ApiError: The server has its maximum number of files.
        """
        if len(self.records) >= self._limits.files:
            message = f"This server keeps {self._limits.files:,} files. Delete some first."
            raise ApiError(403, "file_limit_exceeded", message)

    async def adopt(self, temporary: Path, record: FileRecord) -> FileRecord:
        """Store a received file: first the content, then its name, then the record."""
        await anyio.to_thread.run_sync(self._adopt, temporary, record)
        return record

    async def remove(self, record: FileRecord) -> None:
        """Delete the record of a file, then the file."""
        await anyio.to_thread.run_sync(self._remove, record)

    async def sweep(self) -> None:
        """Delete expired files."""
        for record in self.records.oldest_first():
            if record.expires_s is not None and record.expires_s <= time.time():
                await self.remove(record)

    def _adopt(self, temporary: Path, record: FileRecord) -> None:
        temporary.replace(self.content(record))
        try:
            sync_folder(self._folder)
            self.records.put(record)
        except OSError:
            self.content(record).unlink(missing_ok=True)
            raise

    def _remove(self, record: FileRecord) -> None:
        self.records.remove(record.id)
        self.content(record).unlink(missing_ok=True)


def checked_purpose(purpose: str | None) -> str:
    """Check the purpose of an uploaded file, and return it.

    Raises:
        ApiError: The protocol does not have that purpose.
    """
    if purpose in PURPOSES:
        return str(purpose)
    if purpose is None:
        raise invalid("Missing required parameter: 'purpose'.", "purpose")
    message = f"'{purpose[:100]}' is not one of {list(PURPOSES)} - 'purpose'"
    raise invalid(message, "purpose", "invalid_value")


def expiry(fields: Mapping[str, str], now_s: float) -> float | None:
    """Return the time at which a file expires, from the fields of a form.

    Both forms of the field are accepted: `expires_after[seconds]` with `expires_after[anchor]`, and
    `expires_after` with both as JSON.

    Raises:
        ApiError: The fields are invalid.
    """
    whole = fields.get("expires_after")
    anchor, seconds = (fields.get(f"expires_after[{name}]") for name in ("anchor", "seconds"))
    if whole is not None and anchor is None and seconds is None:
        anchor, seconds = _from_json(whole)
    elif whole is not None:
        raise invalid("'expires_after' is given twice.", "expires_after", "invalid_value")
    elif anchor is None and seconds is None:
        return None
    shortest, longest = EXPIRES_S
    number = int(seconds) if seconds and seconds.isascii() and seconds.isdecimal() else 0
    if anchor != "created_at" or not shortest <= number <= longest:
        message = (
            f"'expires_after' must have the anchor created_at and {shortest} to {longest} seconds."
        )
        raise invalid(message, "expires_after", "invalid_value")
    return now_s + number


def _from_json(text: str) -> tuple[str | None, str | None]:
    try:
        value = from_json(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or value.keys() != {"anchor", "seconds"}:
        return None, None
    seconds = value["seconds"]
    return str(value["anchor"]), str(seconds) if type(seconds) is int else None
