"""Creating a job at most once, whatever the network, the server or this machine does meanwhile.

Look up → write the intent → find or upload the files → create, sent once → look up again, and
cancel all but the oldest job if two runs raced. An answer that says neither yes nor no is never
followed by a second create call in the same run: the list of jobs is read until the window is
over, and a job found there is taken over. A later run sends again only when the list can be read,
the window since the last create call is over, and the job is not there.

Where this client chooses the ID of a job, the job is looked up under its ID, and a create call may
be sent again: the service has one job under one ID.
"""

import logging
import time
from contextlib import suppress
from typing import Any, Final

from backends.contract.errors import BackendError, SubmissionUnknown
from backends.contract.jobs import Job, TrainRequest
from backends.openai.api.error_messages import (
    job_rejection_error,
    no_answer_error,
    to_backend_error,
)
from backends.openai.api.protocol import Body, OutcomeUnknown, Rejected, number, text_of
from backends.openai.jobs.conversions import state_of, to_job
from backends.openai.jobs.create_call import create_body, expected_job, without_refused_metadata
from backends.openai.jobs.files import RemoteFile, ensure_file, is_unread_file
from backends.openai.jobs.job_lookup import JobLookup
from backends.openai.jobs.job_matching import ExpectedJob, LocalFile
from backends.openai.jobs.submit_context import SubmitContext

_log: Final = logging.getLogger("ftctl.openai")


def submit(context: SubmitContext, request: TrainRequest) -> Job:
    """Create the job of a request, or return the one that exists.

    Raises:
        SubmissionUnknown: The answer was lost and no job could be found.
        BackendError: The server refused the job, or a job with its key was made from something
            else.
    """
    return _Submission(context, expected_job(request, context.kind)).run()


def verify_job(context: SubmitContext, request: TrainRequest, job_id: str) -> None:
    """Refuse a job that was found by its key, but was made from something else.

    Raises:
        BackendError: The job was made from something else.
    """
    lookup = JobLookup(context, expected_job(request, context.kind))
    lookup.require_match(context.client.retrieve_job(job_id))


class _Submission:
    """One run of the protocol."""

    def __init__(self, context: SubmitContext, expected: ExpectedJob) -> None:
        self._context = context
        self._expected = expected
        self._lookup = JobLookup(context, expected)
        self._uploaded: list[RemoteFile] = []
        """Files that this run uploaded."""
        self._body: dict[str, Any] = {}
        """The create call."""
        self._sent = False
        """True once this run sent a create call."""
        self._sent_again = False
        """True once this run sent it again, because its outcome was unknown."""

    def run(self) -> Job:
        sent_s = self._context.log.read_intent(self._expected)
        try:
            found = self._lookup.find()
        except (Rejected, OutcomeUnknown) as error:
            if sent_s is not None:
                raise self._lookup.unknown(str(error)) from error
            raise to_backend_error(error, self._context.server) from error
        if not found and sent_s is not None:
            # An earlier run sent a create call and did not live to see the answer.
            found = self._lookup.find_until(sent_s + self._context.policy.window_s)
        return self._settle(found or self._create())

    def _create(self) -> list[Body]:
        """Create the job; return it, or the one that another run created meanwhile."""
        context, expected = self._context, self._expected
        context.log.write_intent(expected, now_s=time.time(), sending=False)
        try:
            train = self._ensure(expected.train)
            held_out = self._ensure(expected.held_out) if expected.held_out else None
            if not train.uploaded:
                # Another run may have died right after its create call: the list may lag.
                found = self._lookup.find_until(train.created_s + context.policy.lag_s)
                if found:
                    return found
            self._body = create_body(expected, context.kind, train, held_out)
            return self._send()
        except Rejected as error:
            context.log.remove_intent(expected)
            if error.code == "training_not_available":
                self._remove_uploads()
            chosen = expected.request.hyperparameters.keys()
            lacks = not chosen >= set(context.profile.body_settings)
            raise job_rejection_error(error, context.server, lacks_training_type=lacks) from error
        except OutcomeUnknown as error:
            # Not from the create call, whose unknown outcome is handled where it is sent.
            context.log.remove_intent(expected)
            raise no_answer_error(error, context.server) from error

    def _ensure(self, local: LocalFile) -> RemoteFile:
        file = ensure_file(self._context, local)
        if file.uploaded:
            self._uploaded.append(file)
        return file

    def _send(self) -> list[Body]:
        """Send the create call until the server has time for it and has read the files."""
        context = self._context
        return context.client.repeat(
            lambda: context.client.repeat(
                self._send_once,
                context.policy.of_unread_files,
                lambda error: f"{context.server} to read the files: {error}",
                may_pass=lambda error: isinstance(error, Rejected) and is_unread_file(error),
            ),
            context.policy.of_uploads,
            lambda error: f"{context.server} to accept the job: {error}",
            may_pass=lambda error: isinstance(error, Rejected) and error.must_slow_down,
        )

    def _send_once(self) -> list[Body]:
        """Send the create call; from the second time on, look up the job first.

        Raises:
            Rejected: The server created nothing.
            OutcomeUnknown: The list of jobs cannot be read.
        """
        context = self._context
        if self._sent and (found := self._lookup.find()):
            return found
        context.log.write_intent(self._expected, now_s=time.time(), sending=True)
        self._sent = True
        try:
            job = self._create_job()
        except OutcomeUnknown as error:
            return self._after_no_answer(error)
        if self._body.get("integrations") and not job.get("integrations"):
            _log.warning(
                "%s made the job without `tracking`, which it does not know", context.server
            )
        return self._look_for(job)

    def _create_job(self) -> Body:
        """Return the created job; leave out metadata that the server refuses.

        Raises:
            Rejected: The server created nothing.
            OutcomeUnknown: The server may have created the job.
        """
        try:
            job = self._context.client.create_job(self._body)
        except Rejected as error:
            trusted = self._context.trusted
            lighter = without_refused_metadata(self._body, error, trusted=trusted)
            if lighter is None:
                raise
            self._body = lighter
            return self._create_job()
        if not text_of(job.get("id")):
            raise OutcomeUnknown("the answer names no job")
        return job

    def _after_no_answer(self, error: OutcomeUnknown) -> list[Body]:
        """Find the job of a create call whose answer was lost.

        Send again only where the job's ID is ours: if the first call made the job, the second finds
        the ID taken.

        Raises:
            SubmissionUnknown: The job is not in the list.
        """
        if not error.sent:
            self._context.log.remove_intent(self._expected)
            raise no_answer_error(error, self._context.server) from error
        window_s = self._context.policy.window_s
        found = self._lookup.find_until(time.time() + window_s)
        if not found and self._context.profile.api is not None and not self._sent_again:
            self._sent_again = True
            return self._send_once()
        if not found:
            reason = f"{error.reason}; no job was in the list for {window_s:g} s"
            raise self._lookup.unknown(reason) from error
        return found

    def _look_for(self, job: Body) -> list[Body]:
        """Look until the list shows the created job, and with it any that raced."""
        self._lookup.created = job["id"]
        # The list may be unreadable, but the answer to the create call was not.
        with suppress(SubmissionUnknown):
            for found in self._lookup.poll(time.time() + self._context.policy.window_s):
                if any(other["id"] == job["id"] for other in found):
                    return found
        return [job]

    def _settle(self, found: list[Body]) -> Job:
        """Keep the oldest job that is or will be a model, cancel the others, remember it."""
        log, expected = self._context.log, self._expected
        living = [job for job in found if _is_living(job)]
        by_age = sorted(living or found, key=_age)
        kept = by_age[0] if living else by_age[-1]
        for job in living:
            if job["id"] != kept["id"] and state_of(job).is_open:
                self._cancel(job, kept)
        log.write_note(str(kept["id"]), expected)
        log.remove_intent(expected)
        return to_job(kept, key=(expected.request.fingerprint, expected.request.attempt))

    def _cancel(self, job: Body, kept: Body) -> None:
        client = self._context.client
        try:
            try:
                client.cancel_job(str(job["id"]))
            except (Rejected, OutcomeUnknown):
                # The other run may have cancelled it already.
                if state_of(client.retrieve_job(str(job["id"]))).is_open:
                    raise
        except (Rejected, OutcomeUnknown) as error:
            raise BackendError(
                f"jobs {kept['id']} and {job['id']} at {self._context.server} train the same, and "
                f"the second could not be cancelled: {error}",
                "Run the same command again, or cancel it there.",
            ) from error

    def _remove_uploads(self) -> None:
        """Remove files that this run uploaded; a file that stays does no harm."""
        for file in self._uploaded:
            with suppress(Rejected, OutcomeUnknown):
                self._context.client.delete_file(file.id)


def _is_living(job: Body) -> bool:
    state = state_of(job)
    return state.is_open or state.value == "succeeded"


def _age(job: Body) -> tuple[float, str]:
    return number(job.get("created_at")) or 0.0, str(job["id"])
