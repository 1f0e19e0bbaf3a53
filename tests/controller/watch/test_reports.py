"""Statuses of commits where the disk, the clock or the server do what they should not."""

import io
import json
import signal
from dataclasses import dataclass, field

import pytest

from controller.errors import ExitCode
from controller.project.project import Project
from controller.watch.clone.upstream import GitHubRepository
from controller.watch.health import Health, HealthBoard
from controller.watch.log import EventLog
from controller.watch.metrics import Metrics
from controller.watch.reporter import WatchReporter
from controller.watch.reports import CommitReports
from controller.watch.service import Service
from controller.watch.statuses import Sent, Status, StatusReporter
from tests.servers.git_http_server import TOKEN, GitServer

SHA = "1" * 40
GREEN = Status(state="success", description="as declared")


@pytest.fixture
def hub(tmp_path):
    with GitServer(tmp_path) as server:
        yield server


@pytest.fixture
def reporter(tmp_path, hub):
    repository = GitHubRepository(api=f"{hub.url}/api/v3", name="acme/models")
    found = StatusReporter(repository=repository, token=TOKEN, memory=tmp_path / "memory")
    found.load()
    return found


FAR = [
    ({"retry-after": "inf"}, 5),
    ({"retry-after": "nan"}, 5),
    ({"retry-after": "1e300"}, 3600),
    ({"retry-after": "-5"}, 5),
    ({"retry-after": "Wed, 21 Oct 2065 07:28:00 GMT"}, 5),
    ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "99999999999"}, 3600),
    ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "nan"}, 5),
    ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}, 5),
]


@pytest.mark.parametrize(("headers", "pause_s"), FAR)
def test_a_server_that_asks_for_years_is_asked_again_within_an_hour(
    reporter, hub, headers, pause_s
):
    hub.status_answers, now = [(429, headers)], [1_000_000.0]
    reporter.now = lambda: now[0]
    reporter.set(SHA, GREEN)
    assert reporter.send().failure.startswith("429 ")
    now[0] += pause_s - 1
    assert reporter.send() == Sent()
    now[0] += 1
    assert reporter.send().count == 1


def test_a_clock_that_is_put_back_delays_no_status(reporter, hub):
    hub.status_answers, now = [(503, {})], [4e9]
    reporter.now = lambda: now[0]
    reporter.set(SHA, GREEN)
    assert reporter.send().failure.startswith("503 ")
    now[0] = 1.8e9
    assert reporter.send().count == 1


@dataclass
class Undeclared:
    """A branch of which no pass succeeds, until a signal ends the service."""

    project: Project
    change: str = SHA
    refreshed: list[int] = field(default_factory=list)

    def refresh(self):
        self.refreshed.append(len(self.refreshed))
        if len(self.refreshed) == 3:
            signal.raise_signal(signal.SIGINT)
        return True

    def publish(self):
        return True


def test_a_status_that_cannot_be_remembered_does_not_end_the_service(tmp_path, reporter, hub):
    reporter.memory.mkdir()  # the disk refuses every file of that name
    board, stream = HealthBoard(Health(started_s=0.0)), io.StringIO()
    log = EventLog(as_json=True, secrets=(), stream=stream)
    metrics = Metrics(lambda: board.now)
    place = Undeclared(Project(root=tmp_path, state=tmp_path / ".ftctl"))
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
        statuses=CommitReports(reporter, board, log, metrics),
    )
    assert service.run() is ExitCode.INTERRUPTED
    assert len(place.refreshed) == 3
    assert hub.statuses == [(SHA, "error", "a pass failed: see the log of the service")]
    told = [json.loads(line)["type"] for line in stream.getvalue().splitlines()]
    assert told == ["fails", "status", "ending", "ended"]
