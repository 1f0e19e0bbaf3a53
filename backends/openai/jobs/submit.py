"""Creating a job at most once, whatever the network, the server or this machine does meanwhile.

Look up → write the intent → find or upload the files → create, sent once → look up again, and
cancel all but the oldest job if two runs raced. An answer that says neither yes nor no is never
followed by a second create call in the same run: the list of jobs is read until the window is
over, and a job found there is taken over. A later run sends again only when the list can be read,
the window since the last create call is over, and the job is not there.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from backends.contract.errors import BackendError, SubmissionUnknown
from backends.contract.jobs import Job, TrainRequest
from backends.openai.api.error_messages import (
    job_rejection_error,
    no_answer_error,
    to_backend_error,
)
from backends.openai.api.protocol import Body, OutcomeUnknown, Rejected
from backends.openai.api.retry_policy import RetryPolicy
from backends.openai.api.waiting import Waiting
from backends.openai.jobs.conversions import state_of, to_job
from backends.openai.jobs.files import (
    RemoteFile,
    ensure_file,
    find_files,
    is_unread_file,
    read_local,
)
from backends.openai.jobs.job_listing import read_filtered, read_jobs
from backends.openai.jobs.job_matching import (
    ATTEMPT,
    FINGERPRINT,
    NAME,
    ExpectedJob,
    LocalFile,
    is_claimed,
    is_likely_match,
    key_tag,
    make_suffix,
    metadata_of,
    mismatch,
)
from backends.openai.jobs.origin import PREFIX, to_metadata
from backends.openai.jobs.submission_log import SubmissionLog
from backends.openai.limits import PUBLISHED

if TYPE_CHECKING:
    from backends.openai.api.client import Client

_log: Final = logging.getLogger("ftctl.openai")
_INVALID: Final = frozenset({400, 413, 422})
_LONGEST_PAUSE_S: Final = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitContext:
    """Where jobs are created."""

    client: "Client"
    server: str
    """The endpoint for people."""
    kind: str
    trusted: bool
    """Whether an empty answer to a filtered list means that there is no such job."""
    notes: SubmissionLog
    patience: RetryPolicy
    waiting: Waiting


def submit(site: SubmitContext, request: TrainRequest) -> Job:
    """Create the job of a request, or return the one that exists.

    Raises:
        SubmissionUnknown: The answer was lost and no job could be found.
        BackendError: The job was refused, or one with its key was made from other things.
    """
    return _Submission(site, describe(request, site.kind)).run()


def verify_job(site: SubmitContext, request: TrainRequest, job_id: str) -> None:
    """Refuse a job that was found by its key, but was made from other things.

    Raises:
        BackendError: It was; the message says from what.
    """
    submission = _Submission(site, describe(request, site.kind))
    submission.refuse_other(site.client.retrieve_job(job_id))


def describe(request: TrainRequest, kind: str) -> ExpectedJob:
    """Say what the job of a request has to be; reads its files once."""
    tag = key_tag(request.fingerprint, request.attempt)
    settings = dict(request.hyperparameters)
    own = {key: settings.pop(key) for key in ("grader", "response_format") if key in settings}
    settings.pop("trainingType", None)
    most_bytes = PUBLISHED[kind].file_bytes
    held_out = read_local(request.held_out, most_bytes)
    return ExpectedJob(
        request=request,
        train=read_local(request.train, most_bytes),
        held_out=held_out if held_out.size else None,
        suffix=make_suffix(request.name, tag, kind),
        tag=tag,
        method={
            "type": request.method,
            request.method: {"hyperparameters": settings} | own,
        },
    )


class _Submission:
    """One run of the protocol."""

    def __init__(self, site: SubmitContext, wanted: ExpectedJob) -> None:
        self._site = site
        self._wanted = wanted
        self._created: object = None
        """The ID of the job that this run created."""

    def run(self) -> Job:
        sent_s = self._site.notes.read_intent(self._wanted)
        try:
            found = self._look_up()
        except (Rejected, OutcomeUnknown) as error:
            if sent_s is not None:
                raise self._unknown(str(error)) from error
            raise to_backend_error(error, self._site.server) from error
        if not found and sent_s is not None:
            # An earlier run sent a create call and did not live to see the answer.
            found = self._look_until(sent_s + self._site.patience.window_s)
        return self._settle(found or self._create())

    def _look_up(self) -> list[Body]:
        """Return the jobs of this key at the server.

        Raises:
            BackendError: A job claims the key and was made from other things.
            Rejected: The server does not show its jobs.
            OutcomeUnknown: The list could not be read.
        """
        client, wanted = self._site.client, self._wanted
        jobs, filtered = read_filtered(client, FINGERPRINT, wanted.request.fingerprint)
        claimed = [job for job in jobs if is_claimed(job, wanted)]
        if not claimed and filtered and not self._site.trusted:
            # The server may filter by metadata that it never stored.
            jobs = list(read_jobs(client))
            claimed = [job for job in jobs if is_claimed(job, wanted)]
        for job in claimed:
            if job["id"] != self._created:
                self.refuse_other(job)
        return claimed or self._look_alikes(jobs)

    def _look_alikes(self, jobs: list[Body]) -> list[Body]:
        bare = [job for job in jobs if not metadata_of(job)]
        if not bare:
            return []
        copies = {file.id for file in find_files(self._site.client, self._wanted.train)}
        return [job for job in bare if is_likely_match(job, self._wanted, copies)]

    def refuse_other(self, job: Body) -> None:
        """Refuse a job that claims the key and was made from other things."""
        file: Body | None = None
        if job.get("training_file"):
            try:
                file = self._site.client.retrieve_file(str(job["training_file"]))
            except Rejected as error:
                if not error.is_missing:
                    raise
        reason = mismatch(job, self._wanted, file)
        if reason is not None:
            raise BackendError(
                f"job {job['id']} at {self._site.server} carries this fingerprint, but {reason}",
                "It was not made by this spec: cancel it there, or raise the attempt with "
                f"`ftctl retry {self._wanted.request.name}`.",
            )

    def _looks(self, until_s: float) -> Iterator[list[Body]]:
        """Look again and again until a time; pauses grow. The last look is after that time."""
        patience = self._site.patience
        pause_s = patience.pause_s
        until_s = min(until_s, time.time() + patience.window_s)
        readable = False
        reason = ""
        while True:
            last = time.time() >= until_s
            try:
                yield self._look_up()
                readable = True
            except (Rejected, OutcomeUnknown) as error:
                readable = False
                reason = str(error)
            if last:
                break
            self._site.waiting.sleep(
                min(pause_s, until_s - time.time()),
                f"{self._site.server} to show whether it made the job",
                most_s=patience.window_s,
            )
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if not readable:
            raise self._unknown(f"the list of jobs cannot be read: {reason}")

    def _look_until(self, until_s: float) -> list[Body]:
        return next((found for found in self._looks(until_s) if found), [])

    def _create(self) -> list[Body]:
        """Create the job; return it, or the one that another run created meanwhile."""
        site, wanted = self._site, self._wanted
        site.notes.write_intent(wanted, now_s=time.time(), sending=False)
        files: list[RemoteFile] = []
        try:
            train = self._ensure(files, wanted.train)
            held_out = self._ensure(files, wanted.held_out) if wanted.held_out else None
            if not train.uploaded:
                # Another run may have died right after its create call: the list may lag.
                found = self._look_until(train.created_s + site.patience.lag_s)
                if found:
                    return found
            body = self._body(train, held_out)
            site.notes.write_intent(wanted, now_s=time.time(), sending=True)
            return self._send(body)
        except Rejected as error:
            site.notes.remove_intent(wanted)
            if error.code == "training_not_available":
                self._remove(files)
            lacks = site.kind == "azure" and "trainingType" not in wanted.request.hyperparameters
            raise job_rejection_error(error, site.server, lacks_training_type=lacks) from error
        except OutcomeUnknown as error:
            # Not from the create call, which has its own way to handle it.
            site.notes.remove_intent(wanted)
            raise no_answer_error(error, site.server) from error

    def _ensure(self, files: list[RemoteFile], wanted: LocalFile) -> RemoteFile:
        site = self._site
        file = ensure_file(site.client, wanted, site.patience, site.waiting, site.server)
        files.append(file)
        return file

    def _body(self, train: RemoteFile, held_out: RemoteFile | None) -> dict[str, Any]:
        wanted, request = self._wanted, self._wanted.request
        body: dict[str, Any] = {
            "model": wanted.model,
            "training_file": train.id,
            "method": wanted.method,
            "seed": wanted.seed,
            "suffix": wanted.suffix,
            "metadata": {
                FINGERPRINT: request.fingerprint,
                ATTEMPT: str(request.attempt),
                NAME: request.name,
                **to_metadata(request.origin),
            },
        }
        if held_out is not None:
            body["validation_file"] = held_out.id
        if self._site.kind == "compatible":
            # Where servers of the older protocol look for them.
            body["hyperparameters"] = wanted.method[request.method]["hyperparameters"]
        if "wandb" in request.tracking:
            body["integrations"] = [{"type": "wandb", "wandb": request.tracking["wandb"]}]
        if "trainingType" in request.hyperparameters:
            body["trainingType"] = request.hyperparameters["trainingType"]
        return body

    def _send(self, body: dict[str, Any]) -> list[Body]:
        """Send the create call until there is an answer other than `too many requests`."""
        site = self._site
        unread_until_s = time.monotonic() + site.patience.processed_s
        for sends in count(1):
            try:
                job = site.client.create_job(body)
                if not isinstance(job.get("id"), str) or not job["id"]:
                    raise OutcomeUnknown("the answer names no job")  # noqa: TRY301 - same handling
            except OutcomeUnknown as error:
                return self._after_silence(error)
            except Rejected as error:
                lighter = self._without_origin(body, error)
                if lighter is not None:
                    body = lighter
                    continue
                if error.param == "metadata" and "metadata" in body:
                    # The server knows no metadata; the suffix carries the tag.
                    body = {key: body[key] for key in body if key != "metadata"}
                    continue
                if is_unread_file(error) and time.monotonic() < unread_until_s:
                    pause_s = min(site.patience.pause_s * 2**sends, _LONGEST_PAUSE_S)
                    reason = f"{site.server} to read the files: {error}"
                    site.waiting.sleep(pause_s, reason, most_s=site.patience.processed_s)
                else:
                    reason = f"{site.server} to accept the job"
                    site.patience.wait(error, sends, site.waiting, reason)
                found = self._look_up()
                if found:
                    return found
                site.notes.write_intent(self._wanted, now_s=time.time(), sending=True)
            else:
                self._report_ignored(body, job)
                return self._look_for(job)
        raise AssertionError("an endless loop ended")

    def _report_ignored(self, body: Body, job: Body) -> None:
        """Warn if the server made the job without the requested `integrations`."""
        if body.get("integrations") and not job.get("integrations"):
            _log.warning("%s made the job without `tracking`: it knows none", self._site.server)

    def _without_origin(self, body: Body, error: Rejected) -> dict[str, Any] | None:
        """Return a create call without the origin; None when that cannot be what was refused."""
        metadata = body.get("metadata", {})
        kept = {key: metadata[key] for key in metadata if not key.startswith(PREFIX)}
        said = f"{error.param} {error.code} {error.message}".lower()
        vague = not self._site.trusted and not error.param
        if kept == metadata or error.status not in _INVALID or not (vague or "metadata" in said):
            return None
        return {**body, "metadata": kept}

    def _after_silence(self, error: OutcomeUnknown) -> list[Body]:
        """Find the job of a create call whose answer was lost; never send again.

        Raises:
            SubmissionUnknown: It is not in the list.
        """
        if not error.sent:
            self._site.notes.remove_intent(self._wanted)
            raise no_answer_error(error, self._site.server) from error
        found = self._look_until(time.time() + self._site.patience.window_s)
        if not found:
            window = f"{self._site.patience.window_s:g} s"
            raise self._unknown(f"{error.reason}; no job was in the list for {window}") from error
        return found

    def _look_for(self, job: Body) -> list[Body]:
        """Look until the list shows the created job, and with it any that raced."""
        self._created = job["id"]
        try:
            for found in self._looks(time.time() + self._site.patience.window_s):
                if any(one["id"] == job["id"] for one in found):
                    return found
        except SubmissionUnknown:
            # The list cannot be read, but the answer to the create call could.
            return [job]
        return [job]

    def _settle(self, found: list[Body]) -> Job:
        """Keep the oldest job that is or will be a model, cancel the others, remember it."""
        site, wanted = self._site, self._wanted
        living = [job for job in found if self._lives(job)]
        by_age = sorted(living or found, key=_age)
        kept = by_age[0] if living else by_age[-1]
        for job in living:
            if job["id"] != kept["id"] and state_of(job).is_open:
                self._cancel(job, kept)
        site.notes.write_note(str(kept["id"]), wanted)
        site.notes.remove_intent(wanted)
        return to_job(kept, key=(wanted.request.fingerprint, wanted.request.attempt))

    def _lives(self, job: Body) -> bool:
        state = state_of(job)
        return state.is_open or state.value == "succeeded"

    def _cancel(self, job: Body, kept: Body) -> None:
        client = self._site.client
        try:
            try:
                client.cancel_job(str(job["id"]))
            except (Rejected, OutcomeUnknown):
                # The other run may have cancelled it already.
                if state_of(client.retrieve_job(str(job["id"]))).is_open:
                    raise
        except (Rejected, OutcomeUnknown) as error:
            raise BackendError(
                f"jobs {kept['id']} and {job['id']} at {self._site.server} train the same, and "
                f"the second could not be cancelled: {error}",
                "Run the same command again, or cancel it there.",
            ) from error

    def _remove(self, files: list[RemoteFile]) -> None:
        """Remove what this run uploaded for nothing; failing to is no problem of its own."""
        for file in files:
            if file.uploaded:
                try:
                    self._site.client.delete_file(file.id)
                except (Rejected, OutcomeUnknown):
                    continue

    def _unknown(self, reason: str) -> SubmissionUnknown:
        request = self._wanted.request
        return SubmissionUnknown(
            f"it is not known whether {self._site.server} created the job: {reason}",
            f"Nothing was sent twice. Run the same command again: it looks for job "
            f"{request.fingerprint[:12]} (attempt {request.attempt}) first, and creates it only "
            "when the server's list can be read and does not have it.",
        )


def _age(job: Body) -> tuple[float, str]:
    created = job.get("created_at")
    return (float(created) if isinstance(created, int | float) else 0.0, str(job["id"]))
