"""Statuses of commits, with what the log and `/healthz` tell of sending them."""

import time

from controller.watch.health import HealthBoard
from controller.watch.log import EventLog
from controller.watch.metrics import Metrics
from controller.watch.statuses import Status, StatusReporter

_WHAT = "status"


class CommitReports:
    """Reports of a service at GitHub."""

    def __init__(
        self, statuses: StatusReporter, board: HealthBoard, log: EventLog, metrics: Metrics
    ) -> None:
        self._statuses = statuses
        self._board = board
        self._log = log
        self._metrics = metrics

    def begin(self, change: str, description: str) -> None:
        """Report that a commit is acted on, unless it failed before or is known to be pending.

        A commit takes a thousand statuses; what fails again every few minutes must not use them up.
        """
        known = self._statuses.wanted.get(change)
        if known is None or known.state == "success":
            self.report(change, "pending", description)

    def report(self, change: str, state: str, description: str) -> None:
        """Report the state of a commit; what does not arrive is sent again by a later report."""
        self._statuses.set(change, Status(state=state, description=description))
        sent = self._statuses.send()
        for commit in sent.dropped:
            self._log.alert("status", f"GitHub takes no status of {commit[:12]}", commit=commit)
        if sent.failure:
            self._metrics.count_event(_WHAT, failed=True)
            if self._board.begin_outage(_WHAT, sent.failure, time.time()):
                self._log.fail("fails", f"commit status: {sent.failure}", what=_WHAT)
        elif sent.count:
            self._metrics.count_event(_WHAT, failed=False)
            self._log.tell("status", f"{change[:12]}: {state}: {description}", commit=change)
            if self._board.end_outage(_WHAT):
                self._log.tell("works", "commit statuses arrive again", what=_WHAT)
