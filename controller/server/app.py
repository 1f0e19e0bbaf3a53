"""The application: its parts, its routes, and its background tasks."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount

from backends.contract.backend import Backend
from backends.contract.errors import BackendError
from controller.errors import FtctlError
from controller.project.project import Project
from controller.server.api.errors import answer_error
from controller.server.api.middleware import RequestMiddleware
from controller.server.api.quiet_log import on_loop_error
from controller.server.chat.chat_routes import ChatRoutes
from controller.server.chat.engines import EnginePool
from controller.server.files.file_routes import FileRoutes
from controller.server.files.file_store import FileStore
from controller.server.files.uploads import UploadRecord, UploadRoutes
from controller.server.jobs.job_routes import JobRoutes
from controller.server.jobs.job_runner import JobRunner
from controller.server.jobs.job_store import JobStore
from controller.server.limits import Limits
from controller.server.models import Catalog, ModelRoutes
from controller.server.record_store import RecordStore
from controller.spec.settings import ServeSettings

_log = logging.getLogger(__name__)


def server_folder(project: Project) -> Path:
    """Return the folder of a repository's server. Only one process at a time may use it."""
    return project.state / "server"


def create_app(
    project: Project, backend: Backend, settings: ServeSettings, token: str, limits: Limits
) -> RequestMiddleware:
    """Return the application. It has read all records; its tasks start with the server.

    Args:
        project: The repository.
        backend: The backend that trains and answers.
        settings: The base models that clients may use, when models are switched off, and what jobs
            run on.
        token: The key of every client.
        limits: Limits of requests, storage and background tasks.

    Raises:
        FtctlError: A record is damaged.
    """
    folder = server_folder(project)
    files = FileStore(folder / "files", limits)
    jobs = JobStore(folder / "jobs")
    catalog = Catalog(project, backend, settings, jobs)
    for name in catalog.unknown_ends():
        _log.warning("serve.shutdown_dates: no model here is called %s yet", name)
    runner = JobRunner(backend, catalog, jobs, files, limits, settings.hardware.asked)
    engines = EnginePool(backend, limits)
    uploads = UploadRoutes(RecordStore(folder / "uploads", UploadRecord), files, limits)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(on_loop_error)
        async with anyio.create_task_group() as group:
            group.start_soon(runner.run)
            group.start_soon(_sweep, files, uploads, engines, limits)
            yield
            group.cancel_scope.cancel()
        # Training continues in processes of its own; chat does not.
        await engines.close()

    routes = [
        *FileRoutes(files, limits).routes(),
        *uploads.routes(),
        *JobRoutes(backend, catalog, files, jobs, runner, limits).routes(),
        *ModelRoutes(catalog).routes(),
        *ChatRoutes(catalog, engines, limits).routes(),
    ]
    app = Starlette(
        routes=[Mount("/v1", routes=routes)],
        exception_handlers=dict.fromkeys(
            (FtctlError, HTTPException, OSError, Exception), answer_error
        ),
        lifespan=lifespan,
    )
    # Outermost, so that the answer to a defect passes through it as well.
    return RequestMiddleware(app, token, limits)


async def _sweep(
    files: FileStore, uploads: UploadRoutes, engines: EnginePool, limits: Limits
) -> None:
    """Remove, every `sweep_s` seconds, what has expired or is unused."""
    while True:
        try:
            await run_sync(files.sweep)
            await run_sync(uploads.sweep)
            await engines.sweep()
        except (OSError, BackendError):
            _log.exception("removing expired objects failed; trying again")
        await anyio.sleep(limits.sweep_s)
