"""Reports of a run, into the log and the counters."""

import time
from collections.abc import Mapping

from backends.contract.jobs import Job, JobState
from controller.apply.context import Outcome
from controller.plan.actions import Action, Blocked, Deferred
from controller.render.text import download_text, transfer_text
from controller.watch.log import EventLog
from controller.watch.metrics import Metrics

_MOVED_S = 30.0
"""Time between two lines about one download or transfer."""


class WatchReporter:
    """Receiver of the reports of every run of a service."""

    def __init__(self, log: EventLog, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics
        self._states: dict[str, tuple[str, JobState]] = {}
        """Job and state that were reported last, by fine-tune."""
        self._moved_s = 0.0

    def starting(self, action: Action) -> None:
        """Report the start of an action that takes a while."""
        if action.style.running:
            self._log.tell(
                "starting",
                f"{action.name}: {action.style.running} …",
                name=action.name,
                action=_kind(action),
            )

    def done(self, outcome: Outcome) -> None:
        """Report the outcome of an action; what only waits for a person is reported with the pass."""
        action, failed = outcome.action, bool(outcome.exit_code)
        if isinstance(action, Blocked | Deferred):
            return
        self._metrics.count_action(_kind(action), failed=failed)
        write = self._log.fail if failed else self._log.tell
        write(
            "error" if failed else "done",
            f"{action.name}: {outcome.message}",
            name=action.name,
            action=_kind(action),
        )

    def progress(self, jobs: Mapping[str, Job]) -> None:
        """Report the jobs whose state changed."""
        for name, job in jobs.items():
            if self._states.get(name) != (job.id, job.state):
                self._log.tell(
                    "progress", f"{name}: job {job.id} is {job.state}", name=name, state=job.state
                )
        self._states = {name: (job.id, job.state) for name, job in jobs.items()}

    def download(self, name: str, done: int, total: int) -> None:
        """Report a base model's download, now and then and at its end."""
        if self._is_due(done, total):
            self._log.tell("download", f"{name}: {download_text(done, total)}", name=name)

    def transfer(self, name: str, what: str, done: int, total: int) -> None:
        """Report a transfer between here and the store, now and then and at its end."""
        if self._is_due(done, total):
            said = f"{name}: {what}, {transfer_text(done, total)}"
            self._log.tell("transfer", said, name=name)

    def told(self, message: str) -> None:
        """Report something that was done beside the actions."""
        self._log.tell("told", message)

    def notice(self, message: str) -> None:
        """Report something that concerns the run as a whole."""
        self._log.alert("notice", message)

    def _is_due(self, done: int, total: int) -> bool:
        now_s = time.monotonic()
        if now_s - self._moved_s < _MOVED_S and done < total:
            return False
        self._moved_s = now_s
        return True


def _kind(action: Action) -> str:
    return type(action).__name__.lower()
