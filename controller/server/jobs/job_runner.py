"""The background task that runs jobs: validate files, submit to the backend, follow, finish.

It decides from the records alone, so that a killed server continues where it stopped.
"""

import hashlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import anyio
from anyio.to_thread import run_sync

from backends.contract.backend import Backend
from backends.contract.errors import BackendError
from backends.contract.inspector import ExampleInspector
from backends.contract.jobs import Job, JobState, TrainRequest
from controller.apply.submit import find_or_submit
from controller.canonical import digest
from controller.errors import FtctlError
from controller.plan.job_steps import JobStep, step_of
from controller.server.files.file_store import RESULTS, FileRecord, FileStore
from controller.server.jobs.file_validation import validate_files
from controller.server.jobs.job_events import by_step, note, result_csv
from controller.server.jobs.job_record import BackendRun, JobError, JobRecord, Status
from controller.server.jobs.job_store import JobStore
from controller.server.limits import Limits
from controller.server.model_catalog import Catalog

_OVER = {JobStep.RECORD, JobStep.REPORT_LOST}
SCHEME = "serve1"
"""Scheme of the fingerprints of runs of this server; specs have another."""
_log = logging.getLogger(__name__)


@runtime_checkable
class Pausable(Protocol):
    """A backend that can pause a job, so that submitting it again continues it."""

    def pause(self, job_id: str) -> None:
        """Make a job save its work and stop; its state becomes interrupted. May be repeated."""
        ...


class JobRunner:
    """Runs jobs until cancelled."""

    def __init__(
        self,
        backend: Backend,
        catalog: Catalog,
        jobs: JobStore,
        files: FileStore,
        limits: Limits,
    ) -> None:
        self._backend = backend
        self._catalog = catalog
        self._jobs = jobs
        self._files = files
        self._limits = limits
        self._unwanted: set[str] = set()
        """Runs to cancel that have not ended yet."""
        self.eta_s: dict[str, float] = {}
        """Expected end of each running job, in seconds since the epoch."""

    async def run(self) -> None:
        """Run jobs until cancelled."""
        for record in self._jobs.records.oldest_first():
            if record.status is Status.CANCELLED and record.run is not None:
                self._unwanted.add(record.run.id)
        async with anyio.create_task_group() as group:
            group.start_soon(self._repeat, self._check_files)
            group.start_soon(self._repeat, self._move_on)

    def release(self, run_id: str) -> None:
        """Cancel the run of a cancelled job, unless another job shares it."""
        self._unwanted.add(run_id)

    async def pause(self, record: JobRecord) -> bool:
        """Pause a run; return False if the backend cannot."""
        if not isinstance(self._backend, Pausable) or record.run is None:
            return False
        await run_sync(self._backend.pause, record.run.id)
        return True

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            changed = self._jobs.changed
            try:
                await step()
            except Exception:  # noqa: BLE001 - logged, and tried again
                # A full disk or a failing backend may recover. If the task ended here, every job
                # would wait for a restart.
                _log.exception("moving jobs on failed; trying again")
            with anyio.move_on_after(self._limits.poll_s):
                await changed.wait()

    async def _check_files(self) -> None:
        for record in self._jobs.open_jobs():
            if record.status is Status.VALIDATING:
                await self._guarded(record, self._check_one)

    async def _check_one(self, record: JobRecord) -> None:
        inspector = await run_sync(self._inspector, record)
        data = await validate_files(record, self._jobs, self._files, inspector)
        if data is None:
            return

        def checked(now: JobRecord) -> JobRecord:
            if now.status is not Status.VALIDATING:
                # The job was paused meanwhile; its files are still valid.
                return replace(now, data=data) if now.status.is_open else now
            return replace(now, data=data, status=Status.QUEUED)

        await self._jobs.change(record.id, checked, "Files validated, moving job to queued state")

    def _inspector(self, record: JobRecord) -> ExampleInspector:
        base = self._catalog.base(record.model)
        return self._backend.inspector(base, record.method, record.settings)

    async def _move_on(self) -> None:
        followed = [one for one in self._jobs.open_jobs() if _is_followed(one)]
        runs = {one.run.id for one in followed if one.run is not None}
        seen = await run_sync(self._backend.observe, sorted(runs | self._unwanted))
        await self._cancel_unwanted(seen)
        for record in followed:
            await self._guarded(record, self._follow, seen)
        busy = {
            one.run.id
            for one in self._jobs.open_jobs()
            if _is_followed(one) and one.run is not None
        }
        free = self._limits.runs - len(busy)
        waiting = [one for one in self._jobs.open_jobs() if _is_waiting(one)]
        for record in waiting[: max(0, free)]:
            await self._guarded(record, self._submit)

    async def _guarded(
        self, record: JobRecord, step: Callable[..., Awaitable[None]], *arguments: object
    ) -> None:
        """Do one step of one job. An error fails that job and no other."""
        try:
            await step(record, *arguments)
        except OSError:
            raise
        except FtctlError as error:
            found = JobError(code="training_failed", message=error.one_line)
            await self._jobs.fail(record.id, found)
        except Exception as error:  # noqa: BLE001 - a defect must not stop the jobs of others
            _log.exception("job %s", record.id)
            message = f"The server had an error ({type(error).__name__}); its output says more."
            await self._jobs.fail(record.id, JobError(code="internal_error", message=message))

    async def _cancel_unwanted(self, seen: Mapping[str, Job]) -> None:
        for run_id in sorted(self._unwanted):
            job = seen.get(run_id)
            if step_of(job) in _OVER or self._jobs.sharing(run_id):
                self._unwanted.discard(run_id)
            else:
                await run_sync(self._backend.cancel, run_id)

    async def _submit(self, record: JobRecord) -> None:
        """Submit a job to the backend, or join the run of a job with equal inputs."""
        request = await run_sync(self._request, record)
        attempt = None if record.run is None else record.run.attempt
        job = await run_sync(find_or_submit, self._backend, request, attempt, self._unwanted)
        run = BackendRun(id=job.id, fingerprint=request.fingerprint, attempt=job.attempt)

        def submitted(now: JobRecord) -> JobRecord:
            return replace(now, run=run)

        now = await self._jobs.change(record.id, submitted)
        if not now.status.is_open:
            self.release(run.id)

    def _request(self, record: JobRecord) -> TrainRequest:
        base = self._catalog.base(record.model)
        folder = self._jobs.folder(record.id)
        data = record.data
        if data is None:
            raise BackendError("the job's files were never checked")
        fingerprint = f"{SCHEME}:" + digest(
            {
                "base_model": base.identity,
                "method": record.method,
                "hyperparameters": record.settings,
                "seed": record.seed,
                "train": data.train,
                "held_out": data.held_out,
            }
        )
        return TrainRequest(
            name=re.sub(r"[^a-z0-9-]+", "-", (record.suffix or "job").lower()),
            fingerprint=fingerprint,
            attempt=1,
            base_model=base,
            method=record.method,
            hyperparameters=record.settings,
            seed=record.seed,
            train=folder / "train.jsonl",
            held_out=folder / "held_out.jsonl",
            train_origins=folder / "train.origins",
        )

    async def _follow(self, record: JobRecord, seen: Mapping[str, Job]) -> None:
        """Update a job from the state of its run."""
        job = seen.get(record.run.id) if record.run is not None else None
        if job is None:
            message = "Its run is gone from this machine."
            await self._jobs.fail(record.id, JobError(code="run_missing", message=message))
            return
        if job.progress is not None and job.progress.eta_s is not None:
            self.eta_s[record.id] = time.time() + job.progress.eta_s
        step = step_of(job)
        if step is JobStep.WAIT and job.state is JobState.QUEUED:
            await self._becomes(record, Status.QUEUED, "Waiting for a free device")
        elif step is JobStep.WAIT:
            await self._becomes(record, Status.RUNNING, "Fine-tuning job started")
        elif step is JobStep.RESUME and record.status is Status.PAUSING:
            await self._becomes(record, Status.PAUSED, "The job is paused")
        elif step is JobStep.RESUME:
            await self._submit(record)
        else:
            await self._record_end(record, job)

    async def _record_end(self, record: JobRecord, job: Job) -> None:
        if job.state is JobState.SUCCEEDED:
            await self._finish(record, job)
        elif job.state is JobState.FAILED:
            await self._jobs.fail(record.id, _why(record, job))
        else:
            await self._cancelled(record)

    async def _becomes(self, record: JobRecord, status: Status, message: str) -> None:
        if record.status is Status.PAUSING and status is not Status.PAUSED:
            await self.pause(record)
            return

        def moved(now: JobRecord) -> JobRecord:
            if now.status is status or now.status is not record.status:
                return now
            return replace(now, status=status)

        await self._jobs.change(record.id, moved, message)

    async def _cancelled(self, record: JobRecord) -> None:
        def cancelled(now: JobRecord) -> JobRecord:
            if not now.status.is_open:
                return now
            return replace(now, status=Status.CANCELLED, finished_s=time.time())

        await self._jobs.change(record.id, cancelled, "Its run was cancelled on the machine")

    async def _finish(self, record: JobRecord, job: Job) -> None:
        """Store the result file of a successful run, then mark its job as succeeded."""
        if job.result is None:
            raise BackendError("the run has succeeded and left no model")
        steps = by_step(await run_sync(lambda: list(self._backend.events(job.id))))
        file_id = f"file-{record.id.removeprefix('ftjob-')}"
        if self._files.records.get(file_id) is None:
            await self._files.adopt(*await run_sync(self._result_file, file_id, result_csv(steps)))
        model = job.result.model_id
        tokens = job.result.facts.get("trained_tokens")

        def succeeded(now: JobRecord) -> JobRecord:
            if not now.status.is_open:
                return now
            return replace(
                now,
                status=Status.SUCCEEDED,
                finished_s=time.time(),
                backend_model=model,
                trained_tokens=tokens if isinstance(tokens, int) else None,
                result_file=file_id,
                last_step=steps[-1] if steps else None,
            )

        done = await self._jobs.change(
            record.id, succeeded, f"New fine-tuned model created: {record.model_name}"
        )
        self.eta_s.pop(record.id, None)
        if done.status is Status.SUCCEEDED:
            events = self._jobs.events_file(record.id)
            await run_sync(note, events, time.time(), "The job has successfully completed")

    def _result_file(self, file_id: str, content: bytes) -> tuple[Path, FileRecord]:
        temporary = self._files.temporary()
        temporary.write_bytes(content)
        record = FileRecord(
            id=file_id,
            created_s=time.time(),
            filename="step_metrics.csv",
            purpose=RESULTS,
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        return temporary, record


def _is_followed(record: JobRecord) -> bool:
    return record.run is not None and record.status in {
        Status.QUEUED,
        Status.RUNNING,
        Status.PAUSING,
    }


def _is_waiting(record: JobRecord) -> bool:
    return record.run is None and record.status is Status.QUEUED


def _why(record: JobRecord, job: Job) -> JobError:
    message = job.error or "The run failed and left no reason."
    # The backend names examples by their origin: a line of the training file.
    if record.training_file in message:
        return JobError(code="invalid_training_file", message=message, param="training_file")
    return JobError(code="training_failed", message=message)
