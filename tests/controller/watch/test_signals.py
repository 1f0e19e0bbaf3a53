"""A signal ends the service, wherever it arrives."""

import io
import signal
from dataclasses import dataclass, field

import pytest

from controller.errors import ExitCode
from controller.project.project import Project
from controller.watch.health import Health, HealthBoard
from controller.watch.log import EventLog
from controller.watch.metrics import Metrics
from controller.watch.reporter import WatchReporter
from controller.watch.service import Service


class Finalized:
    """What a signal meets when it is taken away: Python drops the exception of a finalizer."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)


@dataclass
class Unchanged:
    """A place without anything to act on, which meets a signal once."""

    project: Project
    number: int
    refreshed: int = 0
    change: str | None = None
    published: list[int] = field(default_factory=list)

    def refresh(self):
        self.refreshed += 1
        if self.refreshed == 10:
            raise SystemExit("the signal was lost")
        if self.refreshed == 2:
            Finalized(self.number)
        return False

    def publish(self):
        self.published.append(self.refreshed)
        return True


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.DONE)]
)
def test_a_signal_in_a_finalizer_ends_the_service_after_the_pass(tmp_path, number, code):
    board = HealthBoard(Health(started_s=0.0))
    log = EventLog(as_json=True, secrets=(), stream=io.StringIO())
    metrics = Metrics(lambda: board.now)
    place = Unchanged(Project(root=tmp_path, state=tmp_path / ".ftctl"), number)
    service = Service(
        place=place,
        approve=None,
        open_for=None,
        interval_s=0.0,
        lock_timeout_s=1.0,
        board=board,
        log=log,
        metrics=metrics,
        reporter=WatchReporter(log, metrics),
    )
    assert service.run() is code
    assert place.published == [2]
