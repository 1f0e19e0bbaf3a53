"""Outages of the backend or its store: each is reported once, and when it is over."""

import logging
import time
from dataclasses import dataclass, field

from backends.contract.errors import BackendError

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Outage:
    """Reports of one outage at a time, and the pause until the next attempt.

    Attributes:
        poll_s: Seconds between two attempts while all is well.
        longest_s: Most seconds between two attempts during an outage.
        pause_s: Seconds until the next attempt.
    """

    poll_s: float
    longest_s: float
    pause_s: float = field(init=False)
    _since_s: float = field(init=False, default=0.0)
    _reported: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        """Begin without an outage."""
        self.pause_s = self.poll_s

    def add(self, error: BackendError) -> None:
        """Note a failed attempt: report its reason if it is new, and double the pause."""
        if not self._reported:
            self._since_s = time.monotonic()
        if error.message not in self._reported:
            self._reported.add(error.message)
            _log.warning("jobs are not followed for now, and none is lost: %s", error.one_line)
        self.pause_s = max(self.poll_s, min(2 * self.pause_s, self.longest_s))

    def end(self) -> None:
        """Note a successful attempt: report that the outage is over, if there was one."""
        if self._reported:
            seconds = time.monotonic() - self._since_s
            _log.warning("an answer again after %.0f seconds: jobs are followed", seconds)
        self._reported.clear()
        self.pause_s = self.poll_s
