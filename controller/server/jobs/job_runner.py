"""The background task that runs jobs: validate files, submit to the backend, follow, finish.

It decides from the records alone, so that a killed server continues where it stopped.
"""

import hashlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import anyio
from anyio.to_thread import run_sync

from backends.atomic_files import write_atomic
from backends.contract.backend import Backend
from backends.contract.errors import BackendError, SubmissionUnknown
from backends.contract.guard.guarded import Pausable
from backends.contract.inspector import Json
from backends.contract.jobs import BaseModel, Hardware, Job, JobState, TrainRequest
from backends.stores.objects import StoreUnavailable
from controller.apply.submit import find_or_submit
from controller.canonical import digest
from controller.errors import FtctlError
from controller.plan.job_steps import JobStep, step_of
from controller.server.api.errors import ApiError, defect
from controller.server.files.file_store import RESULTS, FileRecord, FileStore
from controller.server.jobs.file_validation import validate_files
from controller.server.jobs.job_events import by_step, note, result_csv
from controller.server.jobs.job_record import BackendRun, JobError, JobRecord, Status, TrainingData
from controller.server.jobs.job_store import JobStore
from controller.server.jobs.outages import Outage
from controller.server.limits import Limits
from controller.server.models import Catalog

SCHEME = "serve1"
"""Scheme of the fingerprints of runs of this server; specs have another."""
_FAILED = "training_failed"
_FOLLOWED = {Status.QUEUED, Status.RUNNING, Status.PAUSING}
_OVER = {JobStep.RECORD, JobStep.REPORT_LOST}
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class JobRunner:
    """Runs jobs until cancelled."""

    backend: Backend
    catalog: Catalog
    jobs: JobStore
    files: FileStore
    limits: Limits
    hardware: Hardware = field(default_factory=Hardware)
    """Hardware of every job."""
    eta_s: dict[str, float] = field(default_factory=dict)
    """Expected end of each running job, in seconds since the epoch."""
    unwanted: set[str] = field(default_factory=set)
    """Runs of cancelled jobs, to cancel unless another job shares them."""

    async def run(self) -> None:
        """Run jobs until cancelled."""
        for record in self.jobs.records.oldest_first():
            if record.status is Status.CANCELLED and record.run is not None:
                self.unwanted.add(record.run.id)
        async with anyio.create_task_group() as group:
            group.start_soon(self._repeat, self.check_files)
            group.start_soon(self._repeat, self.move_on)

    async def pause(self, record: JobRecord) -> bool:
        """Pause a run; return False if the backend cannot."""
        if not isinstance(self.backend, Pausable) or record.run is None:
            return False
        await run_sync(self.backend.pause, record.run.id)
        return True

    async def check_files(self) -> None:
        """Validate the files of every new job."""
        new = [job for job in self.jobs.open_jobs() if job.status is Status.VALIDATING]
        await self._each(new, self._check_one)

    async def move_on(self) -> None:
        """Move every job with valid files one step on, and cancel runs that no job wants."""
        followed = self._followed()
        runs = {record.run.id for record in followed if record.run is not None}
        seen = await run_sync(self.backend.observe, sorted(runs | self.unwanted))
        await self._cancel_unwanted(seen)
        await self._each(followed, partial(self._follow, seen=seen))
        busy = {record.run.id for record in self._followed() if record.run is not None}
        open_jobs = self.jobs.open_jobs()
        waiting = [job for job in open_jobs if not job.run and job.status is Status.QUEUED]
        await self._each(waiting[: max(0, self.limits.runs - len(busy))], self._submit)

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        outage = Outage(self.limits.poll_s, self.limits.longest_poll_s)
        while True:
            changed = self.jobs.changed
            try:
                await step()
                outage.end()
            except BackendError as error:
                # Its first report tells the reason; the same every second would hide all else.
                outage.add(error)
            except Exception:  # noqa: BLE001 - logged, and tried again
                # A full disk or a failing backend may recover. If the task ended here, every job
                # would wait for a restart.
                _log.exception("updating jobs failed; trying again")
            with anyio.move_on_after(outage.pause_s):
                await changed.wait()

    async def _each(
        self, records: Iterable[JobRecord], step: Callable[[JobRecord], Awaitable[None]]
    ) -> None:
        """Do one step of each job. A store that cannot be used now fails none of them.

        Raises:
            StoreUnavailable: A job waits for it; the steps of the others are done.
        """
        unavailable = None
        for record in records:
            try:
                await self._guarded(record, step)
            except StoreUnavailable as error:
                unavailable = error
        if unavailable is not None:
            raise unavailable

    async def _guarded(
        self, record: JobRecord, step: Callable[[JobRecord], Awaitable[None]]
    ) -> None:
        """Do one step of one job. An error fails that job and no other."""
        try:
            await step(record)
        except (OSError, StoreUnavailable):
            raise
        except SubmissionUnknown as error:
            # It may be there: the next step looks for it before it submits again.
            _log.warning("job %s: %s", record.id, error.one_line)
        except ApiError as error:
            found = JobError(code=error.code or _FAILED, message=error.message, param=error.param)
            await self.jobs.fail(record.id, found)
        except FtctlError as error:
            await self.jobs.fail(record.id, JobError(code=_FAILED, message=error.one_line))
        except Exception as error:  # noqa: BLE001 - a defect must not stop the jobs of others
            _log.exception("job %s", record.id)
            message = defect(error).message
            await self.jobs.fail(record.id, JobError(code="internal_error", message=message))

    async def _check_one(self, record: JobRecord) -> None:
        data = await run_sync(self._validated, record)

        def checked(now: JobRecord) -> JobRecord:
            # If the job was paused meanwhile, it stays paused; its files are still valid.
            status = Status.QUEUED if now.status is Status.VALIDATING else now.status
            return replace(now, data=data, status=status)

        await self.jobs.change(record.id, checked, "Files validated, moving job to queued state")

    def _validated(self, record: JobRecord) -> TrainingData:
        base = self.catalog.base(record.model)
        inspector = self.backend.inspector(base, record.method, record.settings)
        return validate_files(record, self.jobs.folder(record.id), self.files, inspector)

    def _followed(self) -> list[JobRecord]:
        """Return the jobs whose runs are not known to have ended."""
        return [job for job in self.jobs.open_jobs() if job.run and job.status in _FOLLOWED]

    async def _cancel_unwanted(self, seen: Mapping[str, Job]) -> None:
        for run_id in sorted(self.unwanted):
            if step_of(seen.get(run_id)) in _OVER or self.jobs.sharing(run_id):
                self.unwanted.discard(run_id)
            else:
                await run_sync(self.backend.cancel, run_id)

    async def _submit(self, record: JobRecord) -> None:
        """Submit a job to the backend, or join the run of a job with equal inputs."""
        request = await run_sync(self._request, record)
        attempt = None if record.run is None else record.run.attempt
        job = await run_sync(find_or_submit, self.backend, request, attempt, self.unwanted)
        run = BackendRun(id=job.id, fingerprint=request.fingerprint, attempt=job.attempt)
        submitted = partial(replace, run=run)
        now = await self.jobs.change(record.id, submitted, even_ended=True)
        if not now.status.is_open:
            self.unwanted.add(run.id)

    def _request(self, record: JobRecord) -> TrainRequest:
        base = self.catalog.base(record.model)
        folder = self.jobs.folder(record.id)
        data = record.data
        if data is None:
            raise BackendError("the job's files were never checked")
        self._require_fitting(record)
        return TrainRequest(
            name=re.sub(r"[^a-z0-9-]+", "-", (record.suffix or "job").lower()),
            fingerprint=_fingerprint(base, record, data),
            attempt=1,
            base_model=base,
            method=record.method,
            hyperparameters=record.settings,
            seed=record.seed,
            train=folder / "train.jsonl",
            held_out=folder / "held_out.jsonl",
            train_origins=folder / "train.origins",
            hardware=self.hardware,
        )

    def _require_fitting(self, record: JobRecord) -> None:
        """Require that a step of a job can be divided among the GPUs."""
        gpus = self.hardware.gpus
        if gpus == 1:
            return
        for problem in self.backend.hardware_problems(record.method, record.settings, gpus):
            raise BackendError(f"{problem.field}: {problem.message}", problem.remedy)

    async def _follow(self, record: JobRecord, seen: Mapping[str, Job]) -> None:
        """Update a job from the state of its run."""
        job = seen.get(record.run.id) if record.run is not None else None
        if job is None:
            message = "The job's run does not exist on this machine any more."
            await self.jobs.fail(record.id, JobError(code="run_missing", message=message))
            return
        if job.progress is not None and job.progress.eta_s is not None:
            self.eta_s[record.id] = time.time() + job.progress.eta_s
        step = step_of(job)
        if step is JobStep.WAIT and job.state is JobState.QUEUED:
            await self._becomes(record, Status.QUEUED, job.error or "Waiting for a free device")
        elif step is JobStep.WAIT:
            await self._becomes(record, Status.RUNNING, "Fine-tuning job started")
        elif step is JobStep.RESUME and record.status is Status.PAUSING:
            await self._becomes(record, Status.PAUSED, "The job is paused")
        elif step is JobStep.RESUME:
            await self._submit(record)
        else:
            await self._record_end(record, job)

    async def _becomes(self, record: JobRecord, status: Status, message: str) -> None:
        if record.status is Status.PAUSING and status is not Status.PAUSED:
            await self.pause(record)
        elif record.status is not status:

            def moved(now: JobRecord) -> JobRecord:
                return replace(now, status=status) if now.status is record.status else now

            await self.jobs.change(record.id, moved, message)

    async def _record_end(self, record: JobRecord, job: Job) -> None:
        if job.state is JobState.SUCCEEDED:
            await self._finish(record, job)
        elif job.state is JobState.CANCELLED:
            await self.jobs.cancel(record.id, "The job's run was cancelled on this machine")
        else:
            message = job.error or "The run failed without a reason."
            # The backend names examples by their origin: a line of the training file.
            is_file = record.training_file in message
            code, param = ("invalid_training_file", "training_file") if is_file else (_FAILED, None)
            await self.jobs.fail(record.id, JobError(code=code, message=message, param=param))

    async def _finish(self, record: JobRecord, job: Job) -> None:
        """Store the result file of a successful run, then mark its job as succeeded."""
        if job.result is None:
            raise BackendError("the run succeeded but left no model")
        steps = by_step(await run_sync(lambda: list(self.backend.events(job.id))))
        file_id = f"file-{record.id.removeprefix('ftjob-')}"
        if self.files.records.get(file_id) is None:
            await run_sync(self._store_result, file_id, result_csv(steps))
        tokens = job.result.facts.get("trained_tokens")
        succeeded = partial(
            replace,
            status=Status.SUCCEEDED,
            finished_s=time.time(),
            backend_model=job.result.model_id,
            trained_tokens=tokens if isinstance(tokens, int) else None,
            result_file=file_id,
            last_step=steps[-1] if steps else None,
        )
        done = await self.jobs.change(
            record.id, succeeded, f"New fine-tuned model created: {record.model_name}"
        )
        self.eta_s.pop(record.id, None)
        if done.status is Status.SUCCEEDED:
            events = self.jobs.events_file(record.id)
            await run_sync(note, events, time.time(), "The job has successfully completed")

    def _store_result(self, file_id: str, content: bytes) -> None:
        with self.files.incoming() as path:
            write_atomic(path, content)
            record = FileRecord(
                id=file_id,
                created_s=time.time(),
                filename="step_metrics.csv",
                purpose=RESULTS,
                bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
            )
            self.files.adopt(path, record)


def _fingerprint(base: BaseModel, record: JobRecord, data: TrainingData) -> str:
    inputs: dict[str, Json] = {
        "base_model": base.identity,
        "method": record.method,
        "hyperparameters": record.settings,
        "seed": record.seed,
        "train": data.train,
        "held_out": data.held_out,
    }
    return f"{SCHEME}:{digest(inputs)}"
