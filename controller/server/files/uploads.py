"""The endpoints below `/v1/uploads`, for files that arrive in parts."""

import hashlib
import os
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import anyio
from anyio.to_thread import run_sync
from pydantic import Field, JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from controller.server.api.errors import ApiError, invalid, not_found
from controller.server.api.multipart import Form, safe_filename
from controller.server.api.requests import Body, read_body
from controller.server.files.file_store import ExpiresAfter, FileRecord, FileStore, Purpose
from controller.server.limits import Limits
from controller.server.record_store import Record, RecordStore, new_id

CHUNK = 1 << 20
KEPT_S = 86_400
"""Seconds for which the record of an ended upload is kept."""
Status: TypeAlias = Literal["pending", "completed", "cancelled", "expired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRecord(Record):
    """One upload, pending or ended."""

    filename: str
    purpose: str
    bytes: int
    expires_s: float
    """Time at which the upload expires unless completed."""
    keep_s: float | None
    """Seconds for which its file is kept; None for no limit."""
    status: Status = "pending"

    @property
    def file_id(self) -> str:
        """The ID of its file, derived from its own, so that completing may be repeated."""
        return f"file-{self.id.removeprefix('upload_')}"


class CreateUpload(Body):
    """Body of a request that starts an upload."""

    filename: str = Field(min_length=1)
    purpose: Purpose
    bytes: int = Field(ge=1)
    mime_type: str
    expires_after: ExpiresAfter | None = None


class CompleteUpload(Body):
    """Body of a request that completes an upload."""

    part_ids: list[str] = Field(min_length=1)
    md5: str | None = None


@dataclass(slots=True)
class UploadRoutes:
    """The endpoints for uploads."""

    records: RecordStore[UploadRecord]
    files: FileStore
    limits: Limits
    _ending: anyio.Lock = field(default_factory=anyio.Lock)
    """Held while an upload completes or is cancelled."""

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/uploads", self.create, methods=["POST"]),
            Route("/uploads/{upload_id}/parts", self.add_part, methods=["POST"]),
            Route("/uploads/{upload_id}/complete", self.complete, methods=["POST"]),
            Route("/uploads/{upload_id}/cancel", self.cancel, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """Start an upload."""
        given = await read_body(request, CreateUpload, self.limits.json_bytes)
        if given.bytes > self.limits.upload_bytes:
            message = f"A file may have at most {self.limits.upload_bytes:,} bytes."
            raise invalid(message, "bytes", "invalid_value")
        await run_sync(self.sweep)
        now_s = time.time()
        pending = [one for one in self.records.oldest_first() if one.status == "pending"]
        if len(pending) >= self.limits.uploads:
            wait_s = min(one.expires_s for one in pending) - now_s
            message = f"{len(pending)} uploads are unfinished. Complete or cancel some."
            raise ApiError(429, "too_many_uploads", message, retry_after_s=wait_s)
        record = UploadRecord(
            id=new_id("upload_"),
            created_s=now_s,
            filename=safe_filename(given.filename),
            purpose=given.purpose,
            bytes=given.bytes,
            expires_s=now_s + self.limits.upload_s,
            keep_s=given.expires_after.seconds if given.expires_after else None,
        )
        await run_sync(self.records.put, record)
        return self._answer(record)

    async def add_part(self, request: Request) -> Response:
        """Receive a part."""
        record = self._pending(request)
        part_id, parts = new_id("part_"), self._parts(record)
        held = sum(path.stat().st_size for path in parts.glob("part_*"))
        room = min(self.limits.part_bytes, self.limits.upload_bytes - held)
        with self.files.incoming() as received:
            await Form(name="data", limit=room).receive(request, received)
            self._pending(request)
            parts.mkdir(exist_ok=True)
            received.replace(parts / part_id)
        shown = {"id": part_id, "object": "upload.part", "upload_id": record.id}
        return JSONResponse({**shown, "created_at": int(time.time())})

    async def complete(self, request: Request) -> Response:
        """Join the parts to a file. Repeated requests return the same file."""
        given = await read_body(request, CompleteUpload, self.limits.json_bytes)
        async with self._ending:
            record = self._get(request)
            if record.status != "completed":
                record = self._pending(request)
                await run_sync(self._complete, record, given)
        return self._answer(self._get(request))

    async def cancel(self, request: Request) -> Response:
        """Cancel an upload."""
        async with self._ending:
            if self._get(request).status != "cancelled":
                await run_sync(self._end, self._pending(request), "cancelled")
        return self._answer(self._get(request))

    def sweep(self) -> None:
        """End expired uploads, and forget the uploads that ended `KEPT_S` ago."""
        now_s = time.time()
        for record in self.records.oldest_first():
            if record.status == "pending" and record.expires_s <= now_s:
                self._end(record, "expired")
            elif record.status != "pending" and record.expires_s + KEPT_S <= now_s:
                self.records.remove(record.id)

    def _complete(self, record: UploadRecord, given: CompleteUpload) -> None:
        # Match against existing parts, so that no path is built from a client's text.
        there = {path.name: path for path in self._parts(record).glob("part_*")}
        unknown = [part_id for part_id in given.part_ids if part_id not in there]
        if unknown:
            raise not_found("Part", unknown[0], "part_ids")
        if self.files.records.get(record.file_id) is None:
            self.files.check_room()
            self._join(record, [there[part_id] for part_id in given.part_ids], given.md5)
        self._end(record, "completed")

    def _join(self, record: UploadRecord, parts: list[Path], md5: str | None) -> None:
        size = sum(part.stat().st_size for part in parts)
        if size != record.bytes:
            message = f"The parts have {size:,} bytes, but the upload declares {record.bytes:,}."
            raise invalid(message, "part_ids", "byte_count_mismatch")
        with self.files.incoming() as joined:
            sha256, found = _join(parts, joined)
            if md5 is not None and md5.lower() != found:
                message = f"The parts have the MD5 checksum {found}, not {md5[:64]}."
                raise invalid(message, "md5", "checksum_mismatch")
            now_s = time.time()
            file = FileRecord(
                id=record.file_id,
                created_s=now_s,
                filename=record.filename,
                purpose=record.purpose,
                bytes=size,
                sha256=sha256,
                expires_s=None if record.keep_s is None else now_s + record.keep_s,
            )
            self.files.adopt(joined, file)

    def _end(self, record: UploadRecord, status: Status) -> None:
        self.records.put(replace(record, status=status))
        shutil.rmtree(self._parts(record), ignore_errors=True)

    def _get(self, request: Request) -> UploadRecord:
        return self.records.find(request.path_params["upload_id"], "Upload")

    def _pending(self, request: Request) -> UploadRecord:
        record = self._get(request)
        is_due = record.status == "pending" and record.expires_s <= time.time()
        status = "expired" if is_due else record.status
        if status != "pending":
            raise invalid(f"Upload {record.id} is {status}.", "id", "upload_not_pending")
        return record

    def _parts(self, record: UploadRecord) -> Path:
        return self.records.folder / record.id

    def _answer(self, record: UploadRecord) -> Response:
        shown: dict[str, JsonValue] = {
            "id": record.id,
            "object": "upload",
            "bytes": record.bytes,
            "created_at": int(record.created_s),
            "expires_at": int(record.expires_s),
            "filename": record.filename,
            "purpose": record.purpose,
            "status": record.status,
        }
        file = self.files.records.get(record.file_id)
        return JSONResponse(shown if file is None else {**shown, "file": file.as_json()})


def _join(parts: list[Path], target: Path) -> tuple[str, str]:
    """Join the parts; return the SHA-256 and the MD5 of the result."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with target.open("wb") as out:
        for part in parts:
            with part.open("rb") as file:
                while chunk := file.read(CHUNK):
                    sha256.update(chunk)
                    md5.update(chunk)
                    out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return sha256.hexdigest(), md5.hexdigest()
