"""Polling of jobs: many jobs by list pages, few jobs one by one; and results of finished jobs."""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from backends.contract.inspector import Json
from backends.contract.jobs import Job, JobState, Progress
from backends.openai.api.protocol import (
    Body,
    OutcomeUnknown,
    Rejected,
    objects,
    read_pages,
    text_of,
)
from backends.openai.jobs.conversions import (
    job_progress,
    model_of,
    state_of,
    to_checkpoints,
    to_job,
    to_progress,
)
from backends.openai.jobs.job_listing import FEW, JobList
from backends.openai.jobs.job_matching import key_of
from backends.openai.jobs.result_files import result_metrics
from backends.openai.jobs.result_models import ResultModels
from backends.openai.jobs.submission_log import SubmissionLog
from backends.openai.prices import PriceTable, base_name, billed
from backends.openai.shutdowns import day_of

if TYPE_CHECKING:
    from backends.openai.api.client import Client

_EVENTS: Final = 100
_PROGRESS_S: Final = 5.0
"""Seconds between two requests for a job's events; its status is requested each time."""
_SHOWN: Final = 20
"""Maximum number of jobs whose events are requested, a few each time in turn."""


@dataclass(eq=False, kw_only=True)
class JobPoller:
    """Polls the jobs of one server. Not thread-safe."""

    client: "Client"
    prices: PriceTable
    notes: SubmissionLog
    jobs: JobList
    results: ResultModels | None = None
    """None: every job names its model."""
    every_s: float
    """Seconds for which the last look at the same jobs answers further ones."""
    _seen: dict[str, Job] = field(default_factory=dict)
    _seen_s: float = float("-inf")
    _progress: dict[str, tuple[float, Progress | None]] = field(default_factory=dict)
    _facts: dict[str, dict[str, Json]] = field(default_factory=dict)

    def observe(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Return jobs by ID; jobs that the server does not have are absent.

        Raises:
            Rejected: The server does not show its jobs.
            OutcomeUnknown: The server gave no usable answer.
        """
        wanted = list(dict.fromkeys(job_ids))
        fresh = time.monotonic() - self._seen_s < self.every_s
        if fresh and all(job_id in self._seen for job_id in wanted):
            return {job_id: self._seen[job_id] for job_id in wanted}
        found = self._few(wanted) if len(wanted) <= FEW else self._many(wanted)
        if self.results is not None:
            found = {job_id: self.results.named(job) for job_id, job in found.items()}
        if len(found) <= _SHOWN:
            self._look_at_progress(found.values())
        self._seen = {job_id: self._job(job) for job_id, job in found.items()}
        self._seen_s = time.monotonic()
        return dict(self._seen)

    def forget(self) -> None:
        """Request jobs again the next time, because something changed."""
        self._seen_s = float("-inf")
        self.jobs.forget()

    def events(self, job_id: str) -> Iterator[Body]:
        """Yield a job's events, newest first."""
        return read_pages(
            lambda after: self.client.list_events(job_id, limit=_EVENTS, after=after), _EVENTS
        )

    def _few(self, wanted: Iterable[str]) -> dict[str, Body]:
        found = {}
        for job_id in wanted:
            try:
                job = self.client.retrieve_job(job_id)
            except Rejected as error:
                # An answer of another program proves nothing.
                if not error.is_missing:
                    raise
            else:
                if job.get("id") == job_id:
                    found[job_id] = job
        return found

    def _many(self, wanted: Iterable[str]) -> dict[str, Body]:
        missing = set(wanted)
        found: dict[str, Body] = {}
        for job in self.jobs:
            job_id = str(job["id"])
            if job_id in missing:
                found[job_id] = job
                missing.discard(job_id)
                if not missing:
                    break
        # A list may lag or end early; only a request for the job proves that it is gone.
        return found | self._few(sorted(missing))

    def _job(self, job: Body) -> Job:
        job_id = str(job["id"])
        state = state_of(job)
        note = None if key_of(job) else self.notes.read_note(job_id)
        return to_job(
            job,
            key=(note.fingerprint, note.attempt) if note else None,
            origins=self.notes.origins(job_id) if state is JobState.FAILED else (),
            facts=self._all_facts(job) if state is JobState.SUCCEEDED else None,
            progress=self._progress.get(job_id, (0.0, None))[1] or job_progress(job),
        )

    def _look_at_progress(self, jobs: Iterable[Body]) -> None:
        """Read the newest events of the running jobs whose progress is oldest."""
        now_s = time.monotonic()
        running = [str(job["id"]) for job in jobs if state_of(job) is JobState.RUNNING]
        looked = {job_id: self._progress.get(job_id, (float("-inf"), None)) for job_id in running}
        due = [
            job_id
            for job_id in running
            if now_s - looked[job_id][0] >= min(_PROGRESS_S, self.every_s)
        ]
        for job_id in sorted(due, key=lambda job_id: looked[job_id][0])[:FEW]:
            progress = looked[job_id][1]
            # Progress is optional; the events may be readable the next time.
            with suppress(Rejected, OutcomeUnknown):
                page = self.client.list_events(job_id, limit=20, after=None)
                progress = to_progress(objects(page)) or progress
            self._progress[job_id] = (now_s, progress)

    def _all_facts(self, job: Body) -> dict[str, Json]:
        """Return the facts of a finished job, without those that cannot be read."""
        job_id = str(job["id"])
        if job_id not in self._facts:
            facts: dict[str, Json] = {}
            for part in (self._cost, self._metrics, self._checkpoints, self._shutdown):
                try:
                    facts |= part(job)
                except (Rejected, OutcomeUnknown):
                    continue
            self._facts[job_id] = facts
        return self._facts[job_id]

    def _cost(self, job: Body) -> dict[str, Json]:
        price = self.prices.price(str(job.get("model")))
        tokens = job.get("trained_tokens")
        if price is None or not isinstance(tokens, int):
            return {}
        return {"usd": round(billed(price, tokens), 6), "prices_as_of": self.prices.as_of}

    def _metrics(self, job: Body) -> dict[str, Json]:
        files = job.get("result_files")
        name = next(filter(None, map(text_of, files if isinstance(files, list) else ())), "")
        metrics = result_metrics(self.client.file_content(name)) if name else {}
        return {"metrics": metrics} if metrics else {}

    def _checkpoints(self, job: Body) -> dict[str, Json]:
        job_id, result = str(job["id"]), self.results.result if self.results else None
        listed = to_checkpoints(objects(self.client.list_checkpoints(job_id)), result, job_id)
        return {"checkpoints": listed} if listed else {}

    def _shutdown(self, job: Body) -> dict[str, Json]:
        """Return the announced last day of the model, else of its base model."""
        base = str(job.get("model"))
        for model in (model_of(job), base_name(base)):
            with suppress(Rejected):
                if day := day_of(self.client.retrieve_model(str(model))):
                    return {"shutdown_date": day}
        day = self.prices.shutdown_date(base)
        return {} if day is None else {"shutdown_date": day}
