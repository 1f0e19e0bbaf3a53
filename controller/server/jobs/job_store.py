"""The server's jobs on the disk: records, their events and the data they train on."""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from controller.server.jobs.job_events import note
from controller.server.jobs.job_record import JobError, JobRecord, Status
from controller.server.record_store import RecordStore


class JobStore:
    """All jobs. `change` makes every change, so that each starts from the newest record."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.records = RecordStore(folder, JobRecord)
        self._changing = anyio.Lock()
        self.changed = anyio.Event()

    def folder(self, job_id: str) -> Path:
        """Return the folder of a job's data and events."""
        return self._folder / job_id

    def events_file(self, job_id: str) -> Path:
        """Return the file of the server's own events of a job."""
        return self.folder(job_id) / "events.jsonl"

    def open_jobs(self) -> list[JobRecord]:
        """Return the jobs that have not ended, oldest first."""
        return [record for record in self.records.oldest_first() if record.status.is_open]

    def sharing(self, run_id: str) -> list[JobRecord]:
        """Return the open jobs that share a run of the backend."""
        return [job for job in self.open_jobs() if job.run is not None and job.run.id == run_id]

    async def add(self, record: JobRecord) -> None:
        """Add a new job."""
        async with self._changing:
            await run_sync(self._add, record)
        self._wake()

    async def change(
        self,
        job_id: str,
        change: Callable[[JobRecord], JobRecord],
        message: str | None = None,
        level: str = "info",
        *,
        even_ended: bool = False,
    ) -> JobRecord:
        """Replace a job by the result of a function, and note an event if it changed.

        Args:
            job_id: ID of an existing job.
            change: Takes the newest record. Returns the same object for no change.
            message: Text of the event.
            level: Level of the event.
            even_ended: True to change a job that has ended, too.

        Returns:
            The newest record.
        """
        async with self._changing:
            old = self.records[job_id]
            new = change(old) if old.status.is_open or even_ended else old
            if new is old:
                return old
            await run_sync(self._replace, new, message, level)
        self._wake()
        return new

    async def fail(self, job_id: str, error: JobError) -> None:
        """End an open job as failed."""
        failed = partial(replace, status=Status.FAILED, error=error, finished_s=time.time())
        await self.change(job_id, failed, f"The job failed: {error.message}", "error")

    async def cancel(self, job_id: str, message: str) -> JobRecord:
        """End an open job as cancelled, and return its newest record."""
        cancelled = partial(replace, status=Status.CANCELLED, finished_s=time.time())
        return await self.change(job_id, cancelled, message)

    def _wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()

    def _add(self, record: JobRecord) -> None:
        self.folder(record.id).mkdir(exist_ok=True)
        events = self.events_file(record.id)
        try:
            note(events, record.created_s, f"Created fine-tuning job: {record.id}")
            note(events, record.created_s, f"Validating training file: {record.training_file}")
            self.records.put(record)
        except OSError:
            shutil.rmtree(self.folder(record.id), ignore_errors=True)
            raise

    def _replace(self, record: JobRecord, message: str | None, level: str) -> None:
        self.records.put(record)
        if message is not None:
            note(self.events_file(record.id), time.time(), message, level)
        if not record.status.is_open:
            for name in ("train", "held_out"):
                for path in self.folder(record.id).glob(f"{name}.*"):
                    path.unlink()
            shutil.rmtree(self.folder(record.id) / "looks", ignore_errors=True)
