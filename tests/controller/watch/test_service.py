"""`ftctl reconcile --watch` as a person starts it: a branch is followed, and nothing is lost."""

import json
import signal

import pytest

from tests.benchmarks.service import follow
from tests.children import until
from tests.servers.git_http_server import TOKEN, GitServer
from tests.servers.hosted_service import declaration, hosted_server, rows
from tests.watched import Remote, first_files, git, watching


@pytest.fixture
def service():
    server = hosted_server()
    yield server
    server.close()


@pytest.mark.slow
def test_a_merge_is_trained_recorded_and_green_with_a_token_that_nobody_sees(tmp_path, service):
    remote = Remote(tmp_path)
    merged = remote.merge(first_files(service.url), "첫 모델")
    with GitServer(tmp_path / "server") as hub:
        url = f"{hub.url}/acme/models.git"
        hub.status_answers = [(502, {})]
        github = {"GITHUB_TOKEN": TOKEN, "GITHUB_SERVER_URL": hub.url}
        with watching(tmp_path, url, **github) as watch:
            watch.until("pass")
            until(lambda: (merged, "success", "1 fine-tune as declared") in hub.statuses, 30)

            # The server is gone; the service stays, and says since when.
            hub.is_down = True
            watch.until("fails", count=2)
            health = watch.health()
            assert health["status"] == "degraded"
            assert not health["remote"]["reachable"]
            assert health["remote"]["unreachable_since"]
            hub.is_down = False
            watch.until("works", count=2)
            assert watch.health()["status"] == "ok"

            # Somebody rewrites the branch, and drops the record with it.
            git(remote.person, "reset", "-q", "--hard", merged)
            git(remote.person, "commit", "-q", "--amend", "-m", "다시 쓴 첫 모델")
            git(remote.person, "push", "-q", "--force", "origin", "HEAD:main")
            watch.until("rewritten")
            watch.until("pushed", count=2)
            assert remote.log("%an: %s") == ["김민지: Record fine-tunes", "김민지: 다시 쓴 첫 모델"]
            assert remote.production() == {"triage"}
            assert "ftctl_open_jobs 0.0" in watch.get("/metrics")

            # It is asked to end while it measures a model: the record in hand is finished.
            service.hold_s, asked = 0.3, len(service.requests)
            files = {"finetunes/data/second.jsonl": rows(24, salt="또 ")}
            remote.merge(files | {"finetunes/second.yaml": declaration("second")}, "둘째 모델")
            watch.until("starting", count=2)
            until(
                lambda: "/chat/completions" in [path for _, path, *_ in service.requests[asked:]],
                30,
            )
            assert watch.end() == 0
        [build] = remote.recorded()["second"]["builds"].values()
        assert build["evaluation"]["scores"]["candidate"]["accuracy"] == 1
        assert len(service.jobs) == 2
        # A token is asked for, and given; no line and no file holds it.
        assert len(hub.logins) == 3
        assert TOKEN not in watch.text
        state = tmp_path / "state"
        held = [path for path in state.rglob("*") if path.is_file()]
        assert (state / "clone/.git/config") in held
        assert [path for path in held if TOKEN.encode() in path.read_bytes()] == []
        assert (
            json.loads((state / "watch/statuses.json").read_bytes())[merged]["state"] == "success"
        )


def test_records_that_cannot_be_pushed_wait_and_end_as_an_error(tmp_path, service):
    remote = Remote(tmp_path)
    remote.merge(first_files(service.url))
    hook = remote.origin / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho 'the branch is protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    with watching(tmp_path, remote.url) as watch:
        [failure] = watch.until("fails")
        assert "the branch is protected" in failure["message"]
        until(lambda: "push" in watch.health()["outages"], 10)
        assert watch.end() == 1
    assert remote.recorded() == {}
    hook.unlink()
    # The next start pushes them, and trains nothing.
    with watching(tmp_path, remote.url) as watch:
        until(lambda: remote.production() == {"triage"}, 60)
        assert watch.end() == 0
    assert len(service.jobs) == 1


def test_a_folder_is_watched_without_an_approval(tmp_path, service):
    remote = Remote(tmp_path)
    remote.write(first_files(service.url))
    with watching(remote.person, None) as watch:
        watch.until("pass")
        assert watch.health()["status"] == "ok"
        assert watch.end(signal.SIGINT) == 130
    # Nobody merged anything: nothing is submitted.
    assert service.jobs == {}


@pytest.mark.slow
def test_kills_at_random_moments_train_nothing_twice_and_lose_no_record(tmp_path):
    """The short form of `python -m tests.benchmarks.service --merges 200`."""
    found = follow(tmp_path, merges=4, kills=1, finetunes=2, seed=3)
    assert found.twice == found.lost == 0
    assert found.in_production == found.finetunes == 2
    assert found.kills == 1
