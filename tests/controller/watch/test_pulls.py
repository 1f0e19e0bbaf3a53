"""What was trained for pull requests, removed by the service once the branch has it."""

import json

import pytest

from controller.lockfile.early import PullRecord
from controller.lockfile.model import parse_lockfile
from controller.lockfile.pulls import PREFIX, list_pulls, write_pull
from controller.watch.clone.git import GitFailed
from controller.watch.clone.pulls import remove_taken_over
from tests.controller.watch.clones import Clone
from tests.servers.hosted_service import hosted_server
from tests.watched import LOCKFILE, Remote, first_files, git, watching
from tests.workflows.repositories import entry, fingerprint


@pytest.fixture
def remote(tmp_path):
    found = Remote(tmp_path)
    found.merge({"finetunes/a.yaml": "backend: x\n"})
    return found


@pytest.fixture
def clone(tmp_path, remote):
    found = Clone(tmp_path / "clone", remote)
    found.sync()
    return found


@pytest.fixture
def service():
    server = hosted_server()
    yield server
    server.close()


def trained(remote, pull, *numbers, **more):
    """Push what was trained for a pull request; return the commit."""
    recorded = {key: value for key, value in entry(*numbers).items() if key != "production"}
    text = json.dumps({"_": "", "format": 1, "finetunes": {"카페": recorded | more}}).encode()
    record = PullRecord(pull=pull, lockfile=parse_lockfile(text, LOCKFILE))
    write_pull(remote.person, record)
    git(remote.person, "push", "-q", "--force", "origin", f"{PREFIX}{pull}")
    return list_pulls(remote.person)[pull]


def at_server(remote):
    """Return the numbers of the requests that the server has something for."""
    return sorted(list_pulls(remote.origin))


def test_what_the_branch_has_is_removed_from_the_server_and_here(clone, remote):
    trained(remote, 3, 1)
    trained(remote, 12, 1, 2)
    trained(remote, 40, 4)
    clone.write({"카페": entry(1, 2, 3)})
    clone.sync()
    assert remove_taken_over(clone.checkout, clone.project) == (f"{PREFIX}3", f"{PREFIX}12")
    assert at_server(remote) == [40]
    assert sorted(list_pulls(clone.folder)) == [40]
    assert remove_taken_over(clone.checkout, clone.project) == ()
    assert {*remote.recorded()["카페"]["builds"]} == set(map(fingerprint, (1, 2, 3)))


def test_what_is_trained_again_meanwhile_stays(clone, remote):
    trained(remote, 3, 1)
    clone.write({"카페": entry(1)})
    clone.sync()
    newer = trained(remote, 3, 1, 9)
    assert remove_taken_over(clone.checkout, clone.project) == ()
    assert list_pulls(remote.origin) == {3: newer}
    clone.sync()
    assert list_pulls(clone.folder) == {3: newer}
    assert remove_taken_over(clone.checkout, clone.project) == ()


def test_what_somebody_else_removed_first_is_gone(clone, remote):
    trained(remote, 3, 1)
    clone.write({"카페": entry(1)})
    clone.sync()
    git(remote.origin, "update-ref", "-d", f"{PREFIX}3")
    assert remove_taken_over(clone.checkout, clone.project) == ()
    clone.sync()
    assert list_pulls(clone.folder) == {}


def test_a_server_that_refuses_keeps_it_and_says_so(clone, remote):
    trained(remote, 3, 1)
    clone.write({"카페": entry(1)})
    clone.sync()
    hook = remote.origin / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho 'no deletions here' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(GitFailed, match="no deletions here"):
        remove_taken_over(clone.checkout, clone.project)
    assert at_server(remote) == [3]
    assert sorted(list_pulls(clone.folder)) == [3]


def test_a_service_takes_over_what_was_trained_and_removes_it(tmp_path, service):
    """A merge of what a request trained costs nothing; then nothing is left of the request."""
    remote = Remote(tmp_path)
    remote.merge(first_files(service.url))
    with watching(tmp_path, remote.url) as watched:
        watched.until("pushed")
        recorded = remote.recorded()
        pull = parse_lockfile(
            json.dumps({"_": "", "format": 1, "finetunes": _without_production(recorded)}).encode(),
            LOCKFILE,
        )
        write_pull(remote.person, PullRecord(pull=8, lockfile=pull))
        git(remote.person, "push", "-q", "origin", f"{PREFIX}8")
        (removed,) = watched.until("removed")
        assert removed["references"] == [f"{PREFIX}8"]
        assert removed["message"].startswith(f"removed {PREFIX}8: the branch has")
        assert at_server(remote) == []
        assert watched.health()["outages"] == {}
        assert watched.end() == 0
    assert len(service.jobs) == 1


def _without_production(entries):
    return {
        name: {key: value for key, value in found.items() if key != "production"}
        for name, found in entries.items()
    }
