"""Files by ID: their storage, and the fields that describe a new file."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from pydantic import Field, JsonValue, ValidationError

from backends.atomic_files import sync_folder
from controller.server.api.errors import ApiError, invalid, not_found
from controller.server.api.requests import Body, ExactBody
from controller.server.limits import Limits
from controller.server.record_store import Record, RecordStore, new_id

FINE_TUNE: Final = "fine-tune"
RESULTS: Final = "fine-tune-results"
SHORTEST_S, LONGEST_S = 3_600, 2_592_000
Purpose: TypeAlias = Literal["fine-tune", "assistants", "batch", "vision", "user_data", "evals"]
"""Purposes that the protocol allows; only files for fine-tuning are used here."""


class ExpiresAfter(ExactBody):
    """Expiry of a file."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=SHORTEST_S, le=LONGEST_S)


class FileForm(Body):
    """Fields of a form with a file, without `expires_after`."""

    purpose: Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord(Record):
    """Metadata of one file."""

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
        self._incoming = folder / ".incoming"
        self._incoming.mkdir(exist_ok=True)
        for path in self._incoming.iterdir():
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

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """Yield a new path for a file that is being received; remove what is left there."""
        path = self._incoming / new_id("")
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def check_room(self) -> None:
        """Check that one more file is allowed.

        Raises:
            ApiError: The server has its maximum number of files.
        """
        if len(self.records) >= self._limits.files:
            message = f"This server keeps at most {self._limits.files:,} files. Delete some first."
            raise ApiError(403, "file_limit_exceeded", message)

    def adopt(self, received: Path, record: FileRecord) -> None:
        """Store a received file: first the content, then its name, then the record."""
        received.replace(self.content(record))
        try:
            sync_folder(self._folder)
            self.records.put(record)
        except OSError:
            self.content(record).unlink(missing_ok=True)
            raise

    def remove(self, record: FileRecord) -> None:
        """Delete the record of a file, then the file."""
        self.records.remove(record.id)
        self.content(record).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete expired files."""
        for record in self.records.oldest_first():
            if record.expires_s is not None and record.expires_s <= time.time():
                self.remove(record)


def expiry_s(fields: Mapping[str, str]) -> int | None:
    """Return the seconds after which a file expires, from the fields of a form; None for never.

    Both forms of the field are accepted: `expires_after[seconds]` with `expires_after[anchor]`, and
    `expires_after` with both as JSON.

    Raises:
        ApiError: The fields are invalid.
    """
    whole = fields.get("expires_after")
    keys = {name: f"expires_after[{name}]" for name in ExpiresAfter.model_fields}
    parts = {name: fields[key] for name, key in keys.items() if key in fields}
    if whole is None and not parts:
        return None
    if whole is not None and parts:
        raise invalid("'expires_after' is given twice.", "expires_after", "invalid_value")
    try:
        if whole is None:
            return ExpiresAfter.model_validate_strings(parts).seconds
        return ExpiresAfter.model_validate_json(whole).seconds
    except ValidationError:
        limits = f"{SHORTEST_S:,} to {LONGEST_S:,} seconds"
        message = f"'expires_after' must have the anchor created_at and {limits}."
        raise invalid(message, "expires_after", "invalid_value") from None
