"""The endpoints below `/v1/models`."""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backends.contract.backend import Backend
from backends.contract.errors import ModelMissing
from controller.server.jobs.job_store import JobStore
from controller.server.model_catalog import Catalog


@dataclass(frozen=True, slots=True)
class ModelRoutes:
    """The endpoints for models."""

    catalog: Catalog
    backend: Backend
    jobs: JobStore

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
        return JSONResponse({"object": "list", "data": await run_sync(self.catalog.index)})

    async def retrieve(self, request: Request) -> Response:
        """Describe a model."""
        name = request.path_params["model"]
        return JSONResponse(await run_sync(self.catalog.describe, name))

    async def delete(self, request: Request) -> Response:
        """Delete a model of a job of this server, and its weights unless another name shares them."""
        name = request.path_params["model"]
        record = await run_sync(self.catalog.check_deletable, name)
        deleted = partial(replace, model_deleted=True)
        await self.jobs.change(record.id, deleted, "The model was deleted", even_ended=True)
        model = record.backend_model
        if model is not None and not await run_sync(self.catalog.is_wanted, model, record.id):
            with suppress(ModelMissing):  # somebody deleted it on the machine
                await run_sync(self.backend.delete, model)
        return JSONResponse({"id": name, "object": "model", "deleted": True})
