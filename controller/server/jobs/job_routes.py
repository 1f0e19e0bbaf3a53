"""The endpoints below `/v1/fine_tuning/jobs`."""

import re
import secrets
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal, TypeAlias

from anyio.to_thread import run_sync
from pydantic import Field, JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backends.contract.backend import Backend
from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel
from backends.contract.methods import SUPERVISED
from controller.server.api.errors import ApiError, invalid
from controller.server.api.requests import ExactBody, page, read_body
from controller.server.files.file_store import FINE_TUNE, FileStore
from controller.server.jobs.hyperparameters import to_backend
from controller.server.jobs.job_events import JobEvent, newest_first
from controller.server.jobs.job_record import JobRecord, Status
from controller.server.jobs.job_runner import JobRunner
from controller.server.jobs.job_store import JobStore
from controller.server.limits import Limits
from controller.server.models import Catalog
from controller.server.record_store import new_id

MOST_LISTED = 1_000
_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)
_Key: TypeAlias = Annotated[str, Field(max_length=64)]
_Value: TypeAlias = Annotated[str, Field(max_length=512)]


class MethodSettings(ExactBody):
    """Settings of one method."""

    hyperparameters: dict[str, JsonValue] | None = None


class Method(ExactBody):
    """Method of the training."""

    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: MethodSettings | None = None
    dpo: MethodSettings | None = None
    reinforcement: MethodSettings | None = None


class CreateJob(ExactBody):
    """Body of a request that creates a job."""

    model: str = Field(min_length=1)
    training_file: str
    validation_file: str | None = None
    method: Method | None = None
    hyperparameters: dict[str, JsonValue] | None = None
    """Earlier place of the hyperparameters in the protocol."""
    suffix: str | None = Field(
        default=None, min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]*$"
    )
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    metadata: dict[_Key, _Value] | None = Field(default=None, max_length=16)
    integrations: list[JsonValue] | None = None


@dataclass(frozen=True, slots=True)
class JobRoutes:
    """The endpoints for jobs."""

    backend: Backend
    catalog: Catalog
    files: FileStore
    jobs: JobStore
    runner: JobRunner
    limits: Limits

    def routes(self) -> list[Route]:
        """Return the routes."""
        one = "/fine_tuning/jobs/{job_id}"
        return [
            Route("/fine_tuning/jobs", self.create, methods=["POST"]),
            Route("/fine_tuning/jobs", self.index, methods=["GET"]),
            Route(one, self.retrieve, methods=["GET"]),
            Route(f"{one}/events", self.events, methods=["GET"]),
            Route(f"{one}/checkpoints", self.checkpoints, methods=["GET"]),
            Route(f"{one}/cancel", self.cancel, methods=["POST"]),
            Route(f"{one}/pause", self.pause, methods=["POST"]),
            Route(f"{one}/resume", self.resume, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """Create a job. Problems of its data appear later, in the job."""
        given = await read_body(request, CreateJob, self.limits.json_bytes)
        method, asked = self._method(given)
        base = await self._base(given.model)
        for param in ("training_file", "validation_file"):
            self._check_file(getattr(given, param), param)
        settings = await run_sync(to_backend, self.backend, base, method, asked)
        if given.integrations:
            message = "This server does not report to other services."
            raise invalid(message, "integrations", "integration_not_available")
        if len(self.jobs.open_jobs()) >= self.limits.open_jobs:
            message = f"{self.limits.open_jobs:,} jobs are open. Wait until some have ended."
            raise ApiError(429, "rate_limit_exceeded", message, retry_after_s=30)
        record = JobRecord(
            id=new_id("ftjob-"),
            created_s=time.time(),
            model=given.model,
            training_file=given.training_file,
            validation_file=given.validation_file,
            suffix=given.suffix,
            seed=secrets.randbelow(2**31) if given.seed is None else given.seed,
            metadata=given.metadata,
            method=method,
            asked=asked,
            settings=settings,
        )
        await self.jobs.add(record)
        return self._answer(record)

    async def index(self, request: Request) -> Response:
        """List jobs, newest first, optionally filtered by metadata."""
        wanted = _wanted_metadata(request)
        found = self.jobs.records.newest_first()
        if wanted != {}:
            found = [record for record in found if record.matches(wanted)]
        shown, more = page(found, request, default=20, most=MOST_LISTED)
        data = [record.as_json(self._eta_s(record)) for record in shown]
        return JSONResponse({"object": "list", "data": data, "has_more": more})

    async def retrieve(self, request: Request) -> Response:
        """Describe a job."""
        return self._answer(self._get(request))

    async def events(self, request: Request) -> Response:
        """List a job's events, newest first."""
        every = await run_sync(self._events, self._get(request))
        shown, more = page(every, request, default=20, most=MOST_LISTED)
        data = [event.as_json() for event in shown]
        return JSONResponse({"object": "list", "data": data, "has_more": more})

    async def checkpoints(self, request: Request) -> Response:
        """List the checkpoints of a job: here, the final model."""
        checkpoint = self._get(request).checkpoint()
        data = [] if checkpoint is None else [checkpoint]
        only_id = None if checkpoint is None else checkpoint["id"]
        ends = {"first_id": only_id, "last_id": only_id, "has_more": False}
        return JSONResponse({"object": "list", "data": data, **ends})

    async def cancel(self, request: Request) -> Response:
        """Cancel a job. Its run continues if another job shares it."""
        record = await self.jobs.cancel(self._get(request).id, "The job was cancelled")
        if record.status is not Status.CANCELLED:
            raise _impossible(record, "cancelled")
        if record.run is not None:
            self.runner.unwanted.add(record.run.id)
        return self._answer(record)

    async def pause(self, request: Request) -> Response:
        """Pause a job, so that it can continue later."""
        record = self._get(request)
        if record.status in {Status.PAUSING, Status.PAUSED}:
            return self._answer(record)
        if not record.status.is_open:
            raise _impossible(record, "paused")
        target = Status.PAUSED
        if record.run is not None:
            if len(self.jobs.sharing(record.run.id)) > 1:
                message = "The job shares its training with another job that has the same inputs."
                raise invalid(message, None, "pause_not_possible")
            if not await self.runner.pause(record):
                message = (
                    "The job is training, and this server cannot stop training without losing "
                    "its work. Jobs that wait can be paused."
                )
                raise invalid(message, None, "pause_not_supported")
            target = Status.PAUSING
        paused = partial(replace, status=target)
        return self._answer(await self.jobs.change(record.id, paused, f"The job is {target}"))

    async def resume(self, request: Request) -> Response:
        """Continue a paused job."""

        def resumed(now: JobRecord) -> JobRecord:
            if now.status not in {Status.PAUSED, Status.PAUSING}:
                return now
            return replace(now, status=Status.QUEUED if now.data else Status.VALIDATING)

        record = self._get(request)
        if not record.status.is_open:
            raise _impossible(record, "resumed")
        return self._answer(await self.jobs.change(record.id, resumed, "The job continues"))

    def _get(self, request: Request) -> JobRecord:
        return self.jobs.records.find(request.path_params["job_id"], "fine-tuning job")

    def _answer(self, record: JobRecord) -> Response:
        return JSONResponse(record.as_json(self._eta_s(record)))

    def _eta_s(self, record: JobRecord) -> float | None:
        return self.runner.eta_s.get(record.id) if record.status is Status.RUNNING else None

    def _method(self, given: CreateJob) -> tuple[str, dict[str, JsonValue]]:
        method = SUPERVISED.name if given.method is None else given.method.type
        if method not in self.backend.capabilities().methods:
            message = f"This server does not train with the method '{method}'."
            raise invalid(message, "method.type", "method_not_available")
        settings = None if given.method is None else getattr(given.method, method)
        if settings is not None and settings.hyperparameters is not None:
            return method, settings.hyperparameters
        return method, given.hyperparameters or {}

    async def _base(self, name: str) -> BaseModel:
        reason = f"Available: {', '.join(self.catalog.bases) or 'none'}"
        if name in self.catalog.bases:
            try:
                return await run_sync(self.catalog.base, name)
            except BackendError as error:
                reason = error.message
        message = f"Model {name[:200]} is not available for fine-tuning or does not exist. {reason}"
        raise invalid(message, "model", "model_not_available")

    def _check_file(self, file_id: str | None, param: str) -> None:
        file = None if file_id is None else self.files.get(file_id, param)
        if file is not None and file.purpose != FINE_TUNE:
            message = f"{file_id} has the purpose '{file.purpose}', not '{FINE_TUNE}'."
            raise invalid(message, param, "invalid_file_purpose")

    def _events(self, record: JobRecord) -> list[JobEvent]:
        reported = [] if record.run is None else self.backend.events(record.run.id)
        file = self.jobs.events_file(record.id)
        return newest_first(record.id, file, reported, record.created_s)


def _wanted_metadata(request: Request) -> dict[str, str] | None:
    """Return the metadata that a list request filters by; None for jobs without metadata."""
    if request.query_params.get("metadata") == "null":
        return None
    pairs = ((_METADATA.fullmatch(key), value) for key, value in request.query_params.items())
    return {key[1]: value for key, value in pairs if key}


def _impossible(record: JobRecord, what: str) -> ApiError:
    message = f"Job {record.id} has already ended ({record.status}) and cannot be {what}."
    return invalid(message, None, "job_already_ended")
