"""Records of one kind: all in memory, and each in a JSON file that is replaced atomically."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from backends.atomic_files import sync_folder, write_atomic
from controller.errors import FtctlError
from controller.server.api.errors import not_found


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record that can be stored; its kinds add fields of plain values."""

    id: str
    """Name of its file; `new_id` makes every ID."""
    created_s: float
    """Time of its creation, in seconds since the epoch."""


R = TypeVar("R", bound=Record)


def new_id(prefix: str) -> str:
    """Return a new unique ID."""
    return prefix + secrets.token_hex(12)


class RecordStore(dict[str, R]):
    """The records in one folder by ID, oldest first. Only one process may use the folder at a time.

    Only `put` and `remove` change it.
    """

    def __init__(self, folder: Path, kind: type[R]) -> None:
        self.folder = folder
        self._adapter = TypeAdapter(kind)
        folder.mkdir(parents=True, exist_ok=True)
        read = [self._read(path) for path in folder.glob("[!.]*.json")]
        read.sort(key=lambda record: (record.created_s, record.id))
        super().__init__((record.id, record) for record in read)

    def find(self, record_id: str, what: str) -> R:
        """Return a record.

        Args:
            record_id: An ID as a client wrote it.
            what: Kind of the records, for the error.

        Raises:
            ApiError: No record has that ID.
        """
        if record_id not in self:
            raise not_found(what, record_id)
        return self[record_id]

    def newest_first(self) -> list[R]:
        """Return all records."""
        return list(reversed(self.values()))

    def oldest_first(self) -> list[R]:
        """Return all records."""
        return list(self.values())

    def put(self, record: R) -> None:
        """Write a record to the disk, then to memory. Blocks while the disk writes.

        Raises:
            OSError: The disk failed; the earlier record stands.
        """
        try:
            write_atomic(self._path(record.id), self._adapter.dump_json(record, indent=1) + b"\n")
        except OSError:
            if record.id not in self:
                self._path(record.id).unlink(missing_ok=True)
            raise
        self[record.id] = record

    def remove(self, record_id: str) -> None:
        """Remove a record. Blocks while the disk writes."""
        self._path(record_id).unlink(missing_ok=True)
        sync_folder(self.folder)
        self.pop(record_id, None)

    def _path(self, record_id: str) -> Path:
        return self.folder / f"{record_id}.json"

    def _read(self, path: Path) -> R:
        try:
            return self._adapter.validate_json(path.read_bytes())
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"]
            message = f"{path} is damaged, or written by a newer ftctl: {reason}"
            raise FtctlError(
                message, "Move that file away. Only the object that it describes is lost."
            ) from None
