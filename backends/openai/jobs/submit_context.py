"""The server where jobs are created, with everything that creating a job needs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.openai.api.retry_policy import RetryPolicy
from backends.openai.api.waiting import Waiting
from backends.openai.jobs.submission_log import SubmissionLog
from backends.openai.profiles.profile import Profile, profile_of

if TYPE_CHECKING:
    from backends.openai.api.client import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitContext:
    """The server where jobs are created, and how to treat it."""

    client: "Client"
    server: str
    """The endpoint's name in messages."""
    kind: str
    """The endpoint's kind."""
    trusted: bool
    """True if an empty answer to a filtered list proves that there is no such job."""
    log: SubmissionLog
    policy: RetryPolicy
    waiting: Waiting

    @property
    def profile(self) -> Profile:
        """Profile of this kind of server."""
        return profile_of(self.kind)
