"""Looking up the jobs of one key at the server, once or until they show."""

import time
from collections.abc import Iterator

from backends.contract.errors import BackendError, SubmissionUnknown
from backends.openai.api.protocol import Body, OutcomeUnknown, Rejected
from backends.openai.api.retry_policy import LONGEST_POLL_S
from backends.openai.jobs.files import find_files
from backends.openai.jobs.job_listing import read_filtered, read_jobs
from backends.openai.jobs.job_matching import (
    FINGERPRINT,
    ExpectedJob,
    is_claimed,
    is_likely_match,
    metadata_of,
    mismatch,
)
from backends.openai.jobs.submit_context import SubmitContext


class JobLookup:
    """Looks up the jobs that a request may have made."""

    def __init__(self, context: SubmitContext, expected: ExpectedJob) -> None:
        self._context = context
        self._expected = expected
        self.created: object = None
        """ID of the job that this run created, which needs no check."""

    def find(self) -> list[Body]:
        """Return the jobs of the key.

        Raises:
            BackendError: A job claims the key, but was made from something else.
            Rejected: The server does not show its jobs.
            OutcomeUnknown: The list cannot be read.
        """
        client, expected = self._context.client, self._expected
        if self._context.profile.api is not None:
            return self._under_its_id()
        if self._context.profile.metadata:
            jobs, filtered = read_filtered(client, FINGERPRINT, expected.request.fingerprint)
        else:
            jobs, filtered = list(read_jobs(client)), False
        claimed = [job for job in jobs if is_claimed(job, expected)]
        if not claimed and filtered and not self._context.trusted:
            # The server may filter by metadata that it never stored.
            jobs = list(read_jobs(client))
            claimed = [job for job in jobs if is_claimed(job, expected)]
        for job in claimed:
            if job["id"] != self.created:
                self.require_match(job)
        return claimed or self._likely_matches(jobs)

    def find_until(self, until_s: float) -> list[Body]:
        """Look until the key has a job, or until a time; return the jobs of the last look."""
        return next((found for found in self.poll(until_s) if found), [])

    def poll(self, until_s: float) -> Iterator[list[Body]]:
        """Yield the jobs of the key again and again; the last time after `until_s`.

        Raises:
            SubmissionUnknown: The list cannot be read at the end.
        """
        policy = self._context.policy
        pause_s = policy.pause_s
        until_s = min(until_s, time.time() + policy.window_s)
        while True:
            is_last = time.time() >= until_s
            unreadable = ""
            try:
                yield self.find()
            except (Rejected, OutcomeUnknown) as error:
                unreadable = str(error) or "no reason is known"
            if is_last:
                break
            self._context.waiting.sleep(
                min(pause_s, until_s - time.time()),
                f"{self._context.server} to show whether it made the job",
                most_s=policy.window_s,
            )
            pause_s = min(2 * pause_s, LONGEST_POLL_S)
        if unreadable:
            raise self.unknown(f"the list of jobs cannot be read: {unreadable}")

    def require_match(self, job: Body) -> None:
        """Refuse a job that claims the key, but was made from something else.

        Raises:
            BackendError: The job was made from something else.
        """
        file: Body | None = None
        if job.get("training_file"):
            try:
                file = self._context.client.retrieve_file(str(job["training_file"]))
            except Rejected as error:
                if not error.is_missing:
                    raise
        reason = mismatch(job, self._expected, file)
        if reason is not None:
            server, name = self._context.server, self._expected.request.name
            raise BackendError(
                f"job {job['id']} at {server} carries this fingerprint, but {reason}",
                "Cancel it there, for this spec did not make it, or raise the attempt with "
                f"`ftctl retry {name}`.",
            )

    def unknown(self, reason: str) -> SubmissionUnknown:
        """Return the error for a submission whose outcome stays unknown."""
        request = self._expected.request
        return SubmissionUnknown(
            f"it is not known whether {self._context.server} created the job: {reason}",
            "Run the same command again; nothing was sent twice. It looks for job "
            f"{request.fingerprint[:12]} (attempt {request.attempt}) first, and creates it only "
            "if the server's list can be read and does not have it.",
        )

    def _under_its_id(self) -> list[Body]:
        """Return the job under the ID that this client chooses, if there is one."""
        try:
            job = self._context.client.retrieve_job(self._expected.suffix)
        except Rejected as error:
            if not error.is_missing:
                raise
            return []
        if job.get("id") != self._expected.suffix:
            raise OutcomeUnknown("the answer is about another job")
        if job["id"] != self.created:
            self.require_match(job)
        return [job]

    def _likely_matches(self, jobs: list[Body]) -> list[Body]:
        bare = [job for job in jobs if not metadata_of(job)]
        if not bare:
            return []
        copies = {file.id for file in find_files(self._context.client, self._expected.train)}
        return [job for job in bare if is_likely_match(job, self._expected, copies)]
