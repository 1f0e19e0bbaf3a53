"""The endpoints below `/v1/models`."""

from dataclasses import replace

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backends.contract.backend import Backend
from backends.contract.errors import ModelMissing
from controller.server.jobs.job_record import JobRecord
from controller.server.jobs.job_store import JobStore
from controller.server.model_catalog import Catalog


class ModelRoutes:
    """The endpoints for models."""

    def __init__(self, catalog: Catalog, backend: Backend, jobs: JobStore) -> None:
        self._catalog = catalog
        self._backend = backend
        self._jobs = jobs

    def routes(self) -> list[Route]:
        """Return the routes. A model's ID has colons, and a hub model's a slash."""
        return [
            Route("/models", self.index, methods=["GET"]),
            Route("/models/{model:path}", self.retrieve, methods=["GET"]),
            Route("/models/{model:path}", self.delete, methods=["DELETE"]),
        ]

    async def index(self, request: Request) -> Response:
        """List models, base models first."""
        del request
        return JSONResponse({"object": "list", "data": await run_sync(self._catalog.index)})

    async def retrieve(self, request: Request) -> Response:
        """Describe a model."""
        name = request.path_params["model"]
        return JSONResponse(await run_sync(self._catalog.describe, name))

    async def delete(self, request: Request) -> Response:
        """Delete a model of a job of this server, and its weights unless another name shares them."""
        name = request.path_params["model"]
        record = await run_sync(self._catalog.check_deletable, name)

        def deleted(now: JobRecord) -> JobRecord:
            return replace(now, model_deleted=True)

        await self._jobs.change(record.id, deleted, "The model was deleted")
        model = record.backend_model
        if model is not None and not await run_sync(self._catalog.is_wanted, model, record.id):
            await run_sync(self._delete, model)
        return JSONResponse({"id": name, "object": "model", "deleted": True})

    def _delete(self, model: str) -> None:
        try:
            self._backend.delete(model)
        except ModelMissing:
            return  # the model was already deleted on the machine
