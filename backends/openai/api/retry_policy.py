"""Waiting times for a server, and limits for repeating requests."""

import sys
from dataclasses import dataclass
from typing import Final

LONGEST_POLL_S = 8.0
"""Longest pause between two requests about a job or file that is about to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLimits:
    """Limits for repeating one request."""

    pause_s: float
    """Pause before the second attempt; doubled for each further one."""
    longest_pause_s: float = 120.0
    """Longest pause, unless the server asks for a longer one."""
    longest_asked_s: float = float("inf")
    """Longest pause that the server may ask for; if it asks for more, the request fails."""
    total_s: float = float("inf")
    """Time from the first attempt within which the last one must begin."""
    attempts: int = sys.maxsize
    """Maximum number of attempts."""


ONCE: Final = RetryLimits(pause_s=0.0, attempts=1)
"""For requests that are sent once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Waiting times for submitting and observing jobs."""

    window_s: float = 60.0
    """Seconds for which a created job may be missing from the list of jobs."""
    pause_s: float = 0.5
    """Pause before the second look; doubled for each further one, up to `LONGEST_POLL_S`."""
    slow_down_s: float = 120.0
    """Longest pause that a server may ask for before a request is repeated."""
    lag_s: float = 10.0
    """Seconds after an upload by another run for which a job made from it may be missing from the
    list."""
    look_s: float = 5.0
    """Seconds for which the last look at the same open jobs answers further ones."""
    list_s: float = 5.0
    """Seconds for which the list of jobs, once read, answers the lookups of a pass."""
    uploaded_s: float = 20.0
    """Seconds for which a file may stay `uploaded` before a job is made from it anyway."""
    processed_s: float = 600.0
    """Seconds for which a server may report that it is still reading a file."""
    deployed_s: float = 1800.0
    """Seconds for which a service may report that it is still making a deployment."""
    attempts: int = 4
    """Maximum number of attempts for an upload, or a create call that was surely not carried out."""

    @property
    def of_uploads(self) -> RetryLimits:
        """Limits for uploads and for create calls that the server has no time for."""
        return RetryLimits(
            pause_s=2 * self.pause_s,
            longest_asked_s=self.slow_down_s,
            attempts=self.attempts,
        )

    @property
    def of_unread_files(self) -> RetryLimits:
        """Limits for create calls that the server refuses while it reads the files."""
        return RetryLimits(
            pause_s=2 * self.pause_s, longest_pause_s=LONGEST_POLL_S, total_s=self.processed_s
        )


NEAR: Final = RetryPolicy(lag_s=0.0, look_s=0.0, list_s=1.0)
"""For a server on this machine: it shows a job at once, has no other users, counts no requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """Waiting times for answers of models."""

    pause_s: float = 1.0
    """Pause before the second attempt; doubled for each further one."""
    total_s: float = 300.0
    """Seconds for which a prompt is tried: a fresh model takes minutes to load."""
    at_once: int = 64
    """Maximum number of requests under way at the same time."""

    @property
    def of_prompts(self) -> RetryLimits:
        """Limits for one prompt."""
        return RetryLimits(pause_s=self.pause_s, longest_pause_s=30.0, total_s=self.total_s)
