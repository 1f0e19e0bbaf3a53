"""The endpoints below `/v1/files`."""

import time

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from controller.server.api.errors import invalid
from controller.server.api.multipart import receive_form
from controller.server.api.requests import page
from controller.server.files.file_store import FileRecord, FileStore, checked_purpose, expiry
from controller.server.limits import Limits
from controller.server.record_store import new_id

LIST_MOST = 10_000


class FileRoutes:
    """The endpoints for files."""

    def __init__(self, files: FileStore, limits: Limits) -> None:
        self._files = files
        self._limits = limits

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
        self._files.check_room()
        temporary = self._files.temporary()
        try:
            form = await receive_form(request, "file", temporary, self._limits.file_bytes)
            now_s = time.time()
            fields = form.fields
            record = FileRecord(
                id=new_id("file-"),
                created_s=now_s,
                filename=form.filename,
                purpose=checked_purpose(fields.get("purpose")),
                bytes=form.bytes,
                sha256=form.sha256,
                expires_s=expiry(fields, now_s),
            )
            if not record.bytes:
                raise invalid("The file is empty.", "file", "empty_file")
            self._files.check_room()
            await self._files.adopt(temporary, record)
        finally:
            temporary.unlink(missing_ok=True)
        return JSONResponse(record.as_json())

    async def index(self, request: Request) -> Response:
        """List files, newest first by default."""
        order = request.query_params.get("order", "desc")
        if order not in {"asc", "desc"}:
            raise invalid("'order' must be asc or desc.", "order", "invalid_value")
        records = self._files.records
        found = records.newest_first() if order == "desc" else records.oldest_first()
        purpose = request.query_params.get("purpose")
        found = [record for record in found if purpose in {None, record.purpose}]
        shown, more = page(found, request, default=LIST_MOST, most=LIST_MOST)
        body: dict[str, JsonValue] = {
            "object": "list",
            "data": [record.as_json() for record in shown],
            "first_id": shown[0].id if shown else "",
            "last_id": shown[-1].id if shown else "",
            "has_more": more,
        }
        return JSONResponse(body)

    async def retrieve(self, request: Request) -> Response:
        """Describe a file."""
        return JSONResponse(self._files.get(request.path_params["file_id"]).as_json())

    async def delete(self, request: Request) -> Response:
        """Delete a file."""
        record = self._files.get(request.path_params["file_id"])
        await self._files.remove(record)
        return JSONResponse({"id": record.id, "object": "file", "deleted": True})

    async def content(self, request: Request) -> Response:
        """Send a file, streamed."""
        record = self._files.get(request.path_params["file_id"])
        return FileResponse(
            self._files.content(record),
            media_type="application/octet-stream",
            filename=record.filename,
        )
