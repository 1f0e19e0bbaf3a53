"""The endpoints below `/v1/files`."""

import time
from dataclasses import dataclass

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from controller.server.api.errors import invalid
from controller.server.api.multipart import Form
from controller.server.api.requests import page, validated
from controller.server.files.file_store import FileForm, FileRecord, FileStore, expiry_s
from controller.server.limits import Limits
from controller.server.record_store import new_id

LIST_MOST = 10_000


@dataclass(frozen=True, slots=True)
class FileRoutes:
    """The endpoints for files."""

    files: FileStore
    limits: Limits

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/files", self.create, methods=["POST"]),
            Route("/files", self.index, methods=["GET"]),
            Route("/files/{file_id}", self.retrieve, methods=["GET"]),
            Route("/files/{file_id}", self.delete, methods=["DELETE"]),
            Route("/files/{file_id}/content", self.content, methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        """Receive a file."""
        self.files.check_room()
        with self.files.incoming() as received:
            form = Form(name="file", limit=self.limits.file_bytes)
            await form.receive(request, received)
            fields, now_s = form.fields, time.time()
            keep_s = expiry_s(fields)
            record = FileRecord(
                id=new_id("file-"),
                created_s=now_s,
                filename=form.filename,
                purpose=validated(FileForm, fields).purpose,
                bytes=form.size,
                sha256=form.sha256.hexdigest(),
                expires_s=None if keep_s is None else now_s + keep_s,
            )
            if not record.bytes:
                raise invalid("The file is empty.", "file", "empty_file")
            self.files.check_room()
            await run_sync(self.files.adopt, received, record)
        return JSONResponse(record.as_json())

    async def index(self, request: Request) -> Response:
        """List files, newest first by default."""
        order = request.query_params.get("order", "desc")
        if order not in {"asc", "desc"}:
            raise invalid("'order' must be asc or desc.", "order", "invalid_value")
        records = self.files.records
        found = records.newest_first() if order == "desc" else records.oldest_first()
        purpose = request.query_params.get("purpose")
        found = [record for record in found if purpose in {None, record.purpose}]
        shown, more = page(found, request, default=LIST_MOST, most=LIST_MOST)
        ids = [record.id for record in shown] or [""]
        ends = {"first_id": ids[0], "last_id": ids[-1], "has_more": more}
        data = [record.as_json() for record in shown]
        return JSONResponse({"object": "list", "data": data, **ends})

    async def retrieve(self, request: Request) -> Response:
        """Describe a file."""
        return JSONResponse(self.files.get(request.path_params["file_id"]).as_json())

    async def delete(self, request: Request) -> Response:
        """Delete a file."""
        record = self.files.get(request.path_params["file_id"])
        await run_sync(self.files.remove, record)
        return JSONResponse({"id": record.id, "object": "file", "deleted": True})

    async def content(self, request: Request) -> Response:
        """Send a file, streamed."""
        record = self.files.get(request.path_params["file_id"])
        path, kind = self.files.content(record), "application/octet-stream"
        return FileResponse(path, media_type=kind, filename=record.filename)
