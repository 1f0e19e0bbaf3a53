"""The endpoints below `/v1/uploads`, for files that arrive in parts."""

import hashlib
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import anyio
from pydantic import Field, JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from controller.server.api.errors import ApiError, invalid, not_found
from controller.server.api.multipart import receive_form, safe_filename
from controller.server.api.requests import Body, read_body
from controller.server.files.file_store import EXPIRES_S, FileRecord, FileStore, checked_purpose
from controller.server.limits import Limits
from controller.server.record_store import RecordStore, new_id

CHUNK = 1 << 20
KEPT_S = 86_400
"""Seconds for which the record of an ended upload is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRecord:
    """One upload, pending or ended."""

    id: str
    created_s: float
    filename: str
    purpose: str
    bytes: int
    expires_s: float
    """Time at which the upload expires unless completed."""
    keep_s: float | None
    """Seconds for which its file is kept; None for no limit."""
    status: Literal["pending", "completed", "cancelled", "expired"] = "pending"

    @property
    def file_id(self) -> str:
        """The ID of its file, derived from its own, so that completing may be repeated."""
        return f"file-{self.id.removeprefix('upload_')}"


class ExpiresAfter(Body):
    """Expiry of the file."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=EXPIRES_S[0], le=EXPIRES_S[1])


class CreateUpload(Body):
    """Body of a request that starts an upload."""

    filename: str = Field(min_length=1)
    purpose: str
    bytes: int = Field(ge=1)
    mime_type: str
    expires_after: ExpiresAfter | None = None


class CompleteUpload(Body):
    """Body of a request that completes an upload."""

    part_ids: list[str] = Field(min_length=1)
    md5: str | None = None


class UploadRoutes:
    """The endpoints for uploads."""

    def __init__(self, folder: Path, files: FileStore, limits: Limits) -> None:
        self._folder = folder
        self._files = files
        self._limits = limits
        self._records = RecordStore(folder, UploadRecord)
        self._completing = anyio.Lock()

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
        given = await read_body(request, CreateUpload, self._limits.json_bytes)
        if given.bytes > self._limits.upload_bytes:
            message = f"A file may have {self._limits.upload_bytes:,} bytes."
            raise invalid(message, "bytes", "invalid_value")
        await self.sweep()
        pending = [one for one in self._records.oldest_first() if one.status == "pending"]
        if len(pending) >= self._limits.uploads:
            wait_s = min(one.expires_s for one in pending) - time.time()
            message = f"{len(pending)} uploads are unfinished. Complete or cancel some."
            raise ApiError(429, "too_many_uploads", message, retry_after_s=wait_s)
        now_s = time.time()
        record = UploadRecord(
            id=new_id("upload_"),
            created_s=now_s,
            filename=safe_filename(given.filename),
            purpose=checked_purpose(given.purpose),
            bytes=given.bytes,
            expires_s=now_s + self._limits.upload_s,
            keep_s=given.expires_after.seconds if given.expires_after else None,
        )
        await anyio.to_thread.run_sync(self._begin, record)
        return JSONResponse(self._shown(record))

    async def add_part(self, request: Request) -> Response:
        """Receive a part."""
        record = self._pending(request)
        part_id = new_id("part_")
        parts = self._parts(record)
        held = sum(path.stat().st_size for path in parts.glob("part_*"))
        room = min(self._limits.part_bytes, self._limits.upload_bytes - held)
        temporary = self._files.temporary()
        try:
            await receive_form(request, "data", temporary, room)
            self._pending(request)
            temporary.replace(parts / part_id)
        finally:
            temporary.unlink(missing_ok=True)
        shown: dict[str, JsonValue] = {
            "id": part_id,
            "object": "upload.part",
            "created_at": int(time.time()),
            "upload_id": record.id,
        }
        return JSONResponse(shown)

    async def complete(self, request: Request) -> Response:
        """Join the parts to a file. Repeated requests return the same file."""
        given = await read_body(request, CompleteUpload, self._limits.json_bytes)
        async with self._completing:
            record = self._get(request)
            if record.status == "completed":
                return JSONResponse(self._shown(record))
            record = self._pending(request)
            # Match against existing parts, so that no path is built from a client's text.
            there = {path.name: path for path in self._parts(record).glob("part_*")}
            unknown = [part_id for part_id in given.part_ids if part_id not in there]
            if unknown:
                raise not_found("Part", unknown[0], "part_ids")
            if self._files.records.get(record.file_id) is None:
                self._files.check_room()
                await self._assemble(record, [there[name] for name in given.part_ids], given.md5)
            record = await self._end(record, "completed")
        return JSONResponse(self._shown(record))

    async def cancel(self, request: Request) -> Response:
        """Cancel an upload."""
        async with self._completing:
            record = self._get(request)
            if record.status != "cancelled":
                record = await self._end(self._pending(request), "cancelled")
        return JSONResponse(self._shown(record))

    async def sweep(self) -> None:
        """End expired uploads, and forget the uploads that ended `KEPT_S` ago."""
        now_s = time.time()
        for record in self._records.oldest_first():
            if record.status == "pending" and record.expires_s <= now_s:
                await self._end(record, "expired")
            elif record.status != "pending" and record.expires_s + KEPT_S <= now_s:
                await anyio.to_thread.run_sync(self._records.remove, record.id)

    async def _assemble(self, record: UploadRecord, parts: list[Path], md5: str | None) -> None:
        size = sum(part.stat().st_size for part in parts)
        if size != record.bytes:
            message = f"The parts have {size:,} bytes; the upload was to have {record.bytes:,}."
            raise invalid(message, "part_ids", "byte_count_mismatch")
        temporary = self._files.temporary()
        try:
            sha256, found = await anyio.to_thread.run_sync(_join, parts, temporary)
            if md5 is not None and md5.lower() != found:
                message = f"The parts have the MD5 {found}, not the one given."
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
            await self._files.adopt(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)

    async def _end(
        self, record: UploadRecord, status: Literal["completed", "cancelled", "expired"]
    ) -> UploadRecord:
        record = replace(record, status=status)
        await anyio.to_thread.run_sync(self._records.put, record)
        await anyio.to_thread.run_sync(_remove_folder, self._parts(record))
        return record

    def _begin(self, record: UploadRecord) -> None:
        self._parts(record).mkdir()
        try:
            self._records.put(record)
        except OSError:
            _remove_folder(self._parts(record))
            raise

    def _get(self, request: Request) -> UploadRecord:
        upload_id: str = request.path_params["upload_id"]
        record = self._records.get(upload_id)
        if record is None:
            raise not_found("Upload", upload_id)
        return record

    def _pending(self, request: Request) -> UploadRecord:
        record = self._get(request)
        status = record.status
        if status == "pending" and record.expires_s <= time.time():
            status = "expired"
        if status != "pending":
            raise invalid(f"Upload {record.id} is {status}.", "id", "upload_not_pending")
        return record

    def _parts(self, record: UploadRecord) -> Path:
        return self._folder / record.id

    def _shown(self, record: UploadRecord) -> dict[str, JsonValue]:
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
        file = self._files.records.get(record.file_id)
        return shown if file is None else {**shown, "file": file.as_json()}


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


def _remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
