"""The service's clone against real repositories: races, rewritten branches, and kills in between."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from controller.errors import FtctlError, LockfileInvalid
from controller.lockfile.model import FORMAT
from controller.lockfile.pulls import list_pulls
from controller.watch.clone.checkout import followed
from controller.watch.clone.git import Git, GitFailed, Trouble
from controller.watch.clone.records import synchronise
from tests.children import until
from tests.controller.watch.clones import Clone, write
from tests.watched import LOCKFILE, Remote, git
from tests.workflows.repositories import entry, fingerprint


@pytest.fixture
def remote(tmp_path):
    found = Remote(tmp_path)
    found.merge({"finetunes/a.yaml": "backend: x\n"}, "첫 모델")
    return found


@pytest.fixture
def clone(tmp_path, remote):
    found = Clone(tmp_path / "clone", remote)
    found.sync()
    return found


def test_records_go_on_top_of_what_others_pushed(clone, remote):
    clone.write({"a": entry(1)})
    merged = remote.merge({"finetunes/b.yaml": "backend: y\n"}, "Another model")
    synced = clone.sync()
    assert (synced.recorded, synced.failure, synced.tip) == (("a",), None, remote.tip)
    assert remote.log("%s|%b") == ["Record fine-tunes|a", "Another model|", "첫 모델|"]
    assert remote.recorded() == clone.recorded() == {"a": entry(1)}
    assert (clone.folder / "finetunes/b.yaml").read_text() == "backend: y\n"
    assert clone.checkout.change_commit(remote.tip) == merged
    # Nothing is left to do, and nothing is pushed.
    assert clone.sync().recorded == ()
    assert len(remote.log()) == 3


def test_what_was_trained_for_pull_requests_is_fetched_and_forgotten(clone, remote):
    git(remote.origin, "update-ref", "refs/ftctl/pr-12", remote.tip)
    clone.sync()
    assert list(list_pulls(clone.folder)) == [12]
    git(remote.origin, "update-ref", "-d", "refs/ftctl/pr-12")
    clone.sync()
    assert list_pulls(clone.folder) == {}


def test_a_push_that_loses_the_race_is_repeated(clone, remote, tmp_path):
    other = Clone(tmp_path / "other", remote)
    other.sync()
    other.write({"b": entry(2)})
    clone.write({"a": entry(1)})
    tip = clone.checkout.fetch()
    other.sync()
    synced = synchronise(clone.checkout, clone.project, tip)
    assert synced.failure is None
    assert remote.recorded() == {"a": entry(1), "b": entry(2)}


def test_what_is_not_pushed_survives_a_moved_branch_and_a_new_process(clone, remote, tmp_path):
    hook = remote.origin / "hooks/pre-receive"
    hook.write_text('#!/bin/sh\n[ -z "$PERSON" ] && exit 1\nexit 0\n')
    hook.chmod(0o755)
    clone.write({"a": entry(1)})
    assert clone.sync().failure.trouble is Trouble.REFUSED
    hook.chmod(0o644)
    remote.merge({"finetunes/b.yaml": "backend: y\n"})
    hook.chmod(0o755)
    clone = Clone(tmp_path / "clone", remote)
    synced = clone.sync(always=True)
    assert synced.failure is not None
    # The working tree is of the branch, with the record that waits.
    assert clone.checkout.head == remote.tip
    assert (clone.folder / "finetunes/b.yaml").exists()
    assert clone.recorded() == {"a": entry(1)}
    hook.unlink()
    clone.sync()
    assert remote.recorded() == {"a": entry(1)}


def test_a_rewritten_branch_gets_back_what_it_dropped(clone, remote):
    first = remote.tip
    for number in (1, 2, 3):
        clone.write({"a": entry(*range(1, number + 1))})
        clone.sync()
    git(remote.person, "reset", "-q", "--hard", first)
    git(remote.person, "commit", "-q", "--amend", "--allow-empty", "-m", "Rewritten")
    git(remote.person, "push", "-q", "--force", "origin", "HEAD:main")
    clone.sync()
    assert remote.log() == ["Record fine-tunes", "Rewritten"]
    assert remote.recorded() == {"a": entry(1, 2, 3)}


def test_a_branch_without_shared_history_gets_every_build(clone, remote):
    clone.write({"a": entry(1), "b": entry(2)})
    clone.sync()
    git(remote.person, "checkout", "-q", "--orphan", "other")
    write(remote.person, {"a": entry(7)})
    git(remote.person, "add", "--all")
    git(remote.person, "commit", "-q", "-m", "Begin anew")
    git(remote.person, "push", "-q", "--force", "origin", "HEAD:main")
    clone.sync()
    both = entry(1, 7)  # the branch's production stands
    assert remote.recorded() == {"a": both, "b": entry(2)}
    assert both["production"] == fingerprint(7)


@pytest.mark.parametrize("torn", [b'{"format": 1, "finet', None])
def test_a_kill_while_the_working_tree_changes_loses_no_record(clone, remote, tmp_path, torn):
    """Git removes a file before it writes it again: the record is in the commit alone then."""
    clone.write({"a": entry(1)})
    commit = clone.checkout.commit_lockfile(
        remote.tip, (clone.folder / LOCKFILE).read_bytes(), ["a"]
    )
    clone.git.run("update-ref", "refs/ftctl/checkout", commit)
    (clone.folder / LOCKFILE).unlink()
    if torn is not None:
        (clone.folder / LOCKFILE).write_bytes(torn)
    (clone.folder / ".git/index.lock").write_bytes(b"")
    (clone.folder / "finetunes/half.yaml").write_text("backend: nobody merged this\n")

    again = Clone(tmp_path / "clone", remote)
    again.sync(always=True)
    assert remote.recorded() == again.recorded() == {"a": entry(1)}
    assert not (again.folder / "finetunes/half.yaml").exists()


@pytest.mark.parametrize("number", [6, 9, 11, *range(13, 21)])
def test_a_kill_at_each_command_of_git_loses_no_record(clone, remote, tmp_path, number):
    clone.write({"a": entry(1)})
    remote.merge({"finetunes/b.yaml": "backend: y\n"})
    left = number
    """Commands until the kill: the first five only read, and the last run is not killed."""

    class Dying(Git):
        def _call(self, *arguments):
            nonlocal left
            left -= 1
            if left <= 0:
                raise KeyboardInterrupt
            return super()._call(*arguments)

    dying = Dying(folder=clone.folder, environment=clone.git.environment, lock=clone.git.lock)
    tip = clone.checkout.fetch()
    try:
        synchronise(replace(clone.checkout, git=dying), clone.project, tip)
        assert left == 1
    except KeyboardInterrupt:
        # Another process begins; or the same one, which only wanted to end, pushes once more.
        again = Clone(tmp_path / "clone", remote) if number % 2 else clone
        again.sync(always=bool(number % 2))
    assert remote.recorded() == {"a": entry(1)}
    assert (tmp_path / "clone/finetunes/b.yaml").exists()


def test_a_lockfile_that_somebody_removed_in_the_clone_comes_back(clone, remote):
    clone.write({"a": entry(1)})
    clone.sync()
    (clone.folder / LOCKFILE).unlink()
    clone.sync()
    assert remote.recorded() == clone.recorded() == {"a": entry(1)}


def test_a_lockfile_with_conflict_markers_is_recovered(clone, remote):
    clone.write({"a": entry(1)})
    clone.sync()
    git(remote.person, "pull", "-q", "origin", "main")
    whole = (remote.person / LOCKFILE).read_text()
    remote.merge({LOCKFILE: f"<<<<<<< HEAD\n{whole}=======\n>>>>>>> other\n"}, "A bad merge")
    clone.write({"a": entry(1), "b": entry(2)})
    assert clone.sync().recovered
    assert remote.recorded() == {"a": entry(1), "b": entry(2)}
    assert not clone.sync().recovered


@pytest.mark.parametrize("change", [{"format": FORMAT + 1}, {"finetunes": {"a": {"newer": 1}}}])
def test_a_lockfile_of_a_newer_ftctl_is_never_written_over(clone, remote, change):
    clone.write({"a": entry(1)})
    clone.sync()
    newer = json.dumps({"format": FORMAT, "finetunes": {}} | change)
    remote.merge({LOCKFILE: newer})
    clone.write({"a": entry(1), "b": entry(2)})
    with pytest.raises(LockfileInvalid):
        clone.sync()
    assert git(remote.origin, "show", f"main:{LOCKFILE}") == newer


def test_the_clone_of_a_person_and_of_another_branch_are_left_alone(clone, remote, tmp_path):
    assert followed(clone.git) == (remote.url, "main")
    with pytest.raises(FtctlError, match="is the clone of a person"):
        Clone(remote.person, remote)
    with pytest.raises(FtctlError, match=r"follows .* main, not .* release"):
        Clone(tmp_path / "clone", remote, branch="release")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(FtctlError, match="is not empty"):
        Clone(tmp_path / "full", remote)


def test_a_mistake_at_the_first_start_can_be_corrected(tmp_path, remote):
    mistaken = Clone(tmp_path / "clone", remote, branch="mian")
    with pytest.raises(GitFailed):
        mistaken.checkout.fetch()
    Clone(tmp_path / "clone", remote).sync()
    assert (tmp_path / "clone/finetunes/a.yaml").exists()


def test_a_branch_that_is_not_there_is_told_from_a_silent_server(tmp_path, remote):
    absent = Clone(tmp_path / "absent", remote, branch="release")
    with pytest.raises(GitFailed) as found:
        absent.checkout.fetch()
    assert found.value.trouble is Trouble.ABSENT
    remote.origin.rename(remote.origin.with_name("away.git"))
    with pytest.raises(GitFailed) as found:
        absent.checkout.fetch()
    assert found.value.trouble is Trouble.ABSENT


def test_git_has_a_time_limit_and_takes_its_children_along(tmp_path, clone):
    (tmp_path / "bin").mkdir()
    slow = tmp_path / "bin/git-slow"
    slow.write_text("#!/bin/sh\nsleep 600 &\necho $! >child\nwait\n")
    slow.chmod(0o755)
    path = f"{slow.parent}:{os.environ['PATH']}"
    slowed = replace(clone.git, environment={**clone.git.environment, "PATH": path})
    with pytest.raises(GitFailed, match=r"git slow did not end within 0\.5 seconds"):
        slowed.ask("slow", timeout_s=0.5)
    pid = int((clone.folder / "child").read_text())
    until(lambda: has_ended(pid), 10)


def has_ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True
