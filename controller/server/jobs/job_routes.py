"""The endpoints below `/v1/fine_tuning/jobs`."""

import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from anyio.to_thread import run_sync
from pydantic import Field, JsonValue, StringConstraints
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backends.contract.backend import Backend
from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel, Event
from backends.contract.methods import SUPERVISED
from controller.server.api.errors import ApiError, invalid, not_found
from controller.server.api.requests import ExactBody, page, read_body
from controller.server.files.file_store import FINE_TUNE, FileStore
from controller.server.jobs.hyperparameters import to_backend
from controller.server.jobs.job_events import newest_first
from controller.server.jobs.job_record import JobRecord, Status
from controller.server.jobs.job_runner import JobRunner
from controller.server.jobs.job_store import JobStore
from controller.server.limits import Limits
from controller.server.model_catalog import Catalog
from controller.server.record_store import new_id

MOST_LISTED = 1_000
_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)


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
    metadata: (
        dict[
            Annotated[str, StringConstraints(max_length=64)],
            Annotated[str, StringConstraints(max_length=512)],
        ]
        | None
    ) = Field(default=None, max_length=16)
    integrations: list[JsonValue] | None = None


class JobRoutes:
    """The endpoints for jobs."""

    def __init__(
        self,
        backend: Backend,
        catalog: Catalog,
        files: FileStore,
        jobs: JobStore,
        runner: JobRunner,
        limits: Limits,
    ) -> None:
        self._backend = backend
        self._catalog = catalog
        self._files = files
        self._jobs = jobs
        self._foreman = runner
        self._limits = limits

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
        known = CreateJob.model_fields.keys()
        given = await read_body(request, CreateJob, self._limits.json_bytes, known)
        method, asked = self._method(given)
        base = await self._base(given.model)
        for param, file_id in (
            ("training_file", given.training_file),
            ("validation_file", given.validation_file),
        ):
            if file_id is not None:
                self._check_file(file_id, param)
        settings = await run_sync(to_backend, self._backend, base, method, asked)
        if given.integrations:
            message = "This server reports to no other service."
            raise invalid(message, "integrations", "integration_not_available")
        if len(self._jobs.open_jobs()) >= self._limits.open_jobs:
            message = f"{self._limits.open_jobs:,} jobs are open. Wait until some have ended."
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
        await self._jobs.add(record)
        return self._answer(record)

    async def index(self, request: Request) -> Response:
        """List jobs, newest first, optionally filtered by metadata."""
        wanted = _wanted_metadata(request)
        found = self._jobs.records.newest_first()
        if wanted != {}:
            found = [record for record in found if record.matches(wanted)]
        shown, more = page(found, request, default=20, most=MOST_LISTED)
        data: list[JsonValue] = [record.as_json(self._eta_s(record)) for record in shown]
        return JSONResponse({"object": "list", "data": data, "has_more": more})

    async def retrieve(self, request: Request) -> Response:
        """Describe a job."""
        return self._answer(self._get(request))

    async def events(self, request: Request) -> Response:
        """List a job's events, newest first."""
        record = self._get(request)
        file = self._jobs.events_file(record.id)
        reported = await run_sync(self._reported, record)
        every = await run_sync(newest_first, record.id, file, reported, record.created_s)
        shown, more = page(every, request, default=20, most=MOST_LISTED)
        data: list[JsonValue] = [event.as_json() for event in shown]
        return JSONResponse({"object": "list", "data": data, "has_more": more})

    async def checkpoints(self, request: Request) -> Response:
        """List the checkpoints of a job: here, the final model."""
        record = self._get(request)
        data: list[JsonValue] = []
        if record.public_model is not None and record.last_step is not None:
            metrics = {key: value for key, value in record.last_step.items() if "total" not in key}
            step = int(record.last_step["step"])
            checkpoint: dict[str, JsonValue] = {
                "id": f"ftckpt_{record.id.removeprefix('ftjob-')}",
                "object": "fine_tuning.job.checkpoint",
                "created_at": int(record.finished_s or record.created_s),
                "fine_tuned_model_checkpoint": record.public_model,
                "fine_tuning_job_id": record.id,
                "metrics": dict[str, JsonValue](metrics),
                "step_number": step,
            }
            data.append(checkpoint)
        ids: list[JsonValue] = [one["id"] for one in data if isinstance(one, dict)]
        first, last = (ids[0], ids[-1]) if ids else (None, None)
        body: dict[str, JsonValue] = {
            "object": "list",
            "data": data,
            "first_id": first,
            "last_id": last,
            "has_more": False,
        }
        return JSONResponse(body)

    async def cancel(self, request: Request) -> Response:
        """Cancel a job. Its run continues if another job shares it."""

        def cancelled(now: JobRecord) -> JobRecord:
            if not now.status.is_open:
                return now
            return replace(now, status=Status.CANCELLED, finished_s=time.time())

        record = self._get(request)
        record = await self._jobs.change(record.id, cancelled, "The job was cancelled")
        if record.status is not Status.CANCELLED:
            raise _impossible(record, "cancelled")
        if record.run is not None:
            self._foreman.release(record.run.id)
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
            if len(self._jobs.sharing(record.run.id)) > 1:
                message = "Another job with the same inputs trains in the same run."
                raise invalid(message, None, "pause_not_possible")
            if not await self._foreman.pause(record):
                message = (
                    "The job is training, and this server cannot stop training without losing "
                    "its work. Jobs that wait can be paused."
                )
                raise invalid(message, None, "pause_not_supported")
            target = Status.PAUSING

        def paused(now: JobRecord) -> JobRecord:
            return replace(now, status=target) if now.status.is_open else now

        return self._answer(await self._jobs.change(record.id, paused, f"The job is {target}"))

    async def resume(self, request: Request) -> Response:
        """Continue a paused job."""

        def resumed(now: JobRecord) -> JobRecord:
            if now.status not in {Status.PAUSED, Status.PAUSING}:
                return now
            return replace(now, status=Status.QUEUED if now.data else Status.VALIDATING)

        record = self._get(request)
        if not record.status.is_open:
            raise _impossible(record, "resumed")
        return self._answer(await self._jobs.change(record.id, resumed, "The job goes on"))

    def _get(self, request: Request) -> JobRecord:
        job_id: str = request.path_params["job_id"]
        record = self._jobs.records.get(job_id)
        if record is None:
            raise not_found("fine-tuning job", job_id)
        return record

    def _answer(self, record: JobRecord) -> Response:
        return JSONResponse(record.as_json(self._eta_s(record)))

    def _eta_s(self, record: JobRecord) -> float | None:
        return self._foreman.eta_s.get(record.id) if record.status is Status.RUNNING else None

    def _method(self, given: CreateJob) -> tuple[str, dict[str, JsonValue]]:
        method = SUPERVISED.name if given.method is None else given.method.type
        if method not in self._backend.capabilities().methods:
            message = f"This server does not train with the method '{method}'."
            raise invalid(message, "method.type", "method_not_available")
        settings = None if given.method is None else getattr(given.method, method)
        if settings is not None and settings.hyperparameters is not None:
            return method, settings.hyperparameters
        return method, given.hyperparameters or {}

    async def _base(self, name: str) -> BaseModel:
        message = f"Model {name[:200]} is not available for fine-tuning or does not exist."
        if name not in self._catalog.base_names:
            offered = ", ".join(self._catalog.base_names) or "none"
            raise invalid(f"{message} Available: {offered}", "model", "model_not_available")
        try:
            return await run_sync(self._catalog.base, name)
        except BackendError as error:
            reason = f"{message} {error.message}"
            raise invalid(reason, "model", "model_not_available") from None

    def _check_file(self, file_id: str, param: str) -> None:
        file = self._files.get(file_id, param)
        if file.purpose != FINE_TUNE:
            message = f"{file_id} has the purpose '{file.purpose}', not '{FINE_TUNE}'."
            raise invalid(message, param, "invalid_file_purpose")

    def _reported(self, record: JobRecord) -> Sequence[Event]:
        return [] if record.run is None else list(self._backend.events(record.run.id))


def _wanted_metadata(request: Request) -> dict[str, str] | None:
    """Return the metadata that a list request filters by; None for jobs without metadata."""
    if request.query_params.get("metadata") == "null":
        return None
    pairs = ((_METADATA.fullmatch(key), value) for key, value in request.query_params.items())
    return {key[1]: value for key, value in pairs if key}


def _impossible(record: JobRecord, what: str) -> ApiError:
    message = f"Job {record.id} has already ended ({record.status}) and cannot be {what}."
    return invalid(message, None, "job_already_ended")
