"""Records of one kind: all in memory, and each in a JSON file that is replaced atomically."""

import secrets
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from backends.atomic_files import sync_folder, write_atomic
from controller.errors import FtctlError
from controller.server.api.errors import not_found


class Record(Protocol):
    """A record that can be stored: a frozen dataclass of plain values."""

    @property
    def id(self) -> str:
        """Name of its file; `new_id` makes every ID."""
        ...

    @property
    def created_s(self) -> float:
        """Time of its creation, in seconds since the epoch."""
        ...


R = TypeVar("R", bound=Record)


def new_id(prefix: str) -> str:
    """Return a new unique ID."""
    return prefix + secrets.token_hex(12)


class RecordStore(Generic[R]):
    """The records in one folder. Only one process at a time may use the folder."""

    def __init__(self, folder: Path, kind: type[R]) -> None:
        self.folder = folder
        self._adapter = TypeAdapter(kind)
        folder.mkdir(parents=True, exist_ok=True)
        read = sorted(
            (self._read(path) for path in folder.glob("[!.]*.json")),
            key=lambda record: (record.created_s, record.id),
        )
        self._records = {record.id: record for record in read}

    def __len__(self) -> int:
        return len(self._records)

    def get(self, record_id: str) -> R | None:
        """Return a record; None if no record has that ID."""
        return self._records.get(record_id)

    def newest(self, record_id: str) -> R:
        """Return the newest version of an existing record."""
        return self._records[record_id]

    def find(self, record_id: str, what: str) -> R:
        """Return a record.

        Args:
            record_id: An ID as a client wrote it.
            what: What the records are, for the error.

        Raises:
            ApiError: No record has that ID.
        """
        if record_id not in self._records:
            raise not_found(what, record_id)
        return self._records[record_id]

    def newest_first(self) -> list[R]:
        """Return all records."""
        return list(reversed(self._records.values()))

    def oldest_first(self) -> list[R]:
        """Return all records."""
        return list(self._records.values())

    def put(self, record: R) -> None:
        """Write a record to the disk, then to memory. Blocks while the disk writes.

        Raises:
            OSError: The disk failed; the earlier record stands.
        """
        try:
            write_atomic(self._path(record.id), self._adapter.dump_json(record, indent=1) + b"\n")
        except OSError:
            if record.id not in self._records:
                self._path(record.id).unlink(missing_ok=True)
            raise
        self._records[record.id] = record

    def remove(self, record_id: str) -> None:
        """Remove a record. Blocks while the disk writes."""
        self._path(record_id).unlink(missing_ok=True)
        sync_folder(self.folder)
        self._records.pop(record_id, None)

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
