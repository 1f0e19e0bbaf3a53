"""What git names is kept: the command deletes the rest."""

import time
from pathlib import Path

import pytest

from controller.errors import FtctlError
from controller.lockfile.model import Entry, Lockfile, dump_lockfile
from controller.lockfile.store import LOCKFILE
from controller.store.history import named_in_git
from tests.watched import git

OLD, SIDE, NOW = (f"ft1:{digit * 64}" for digit in "abc")
DAYS = 90


def text_of(production: str) -> bytes:
    return dump_lockfile(Lockfile(finetunes={"faq": Entry(production=production)}))


class History:
    """A repository with the lockfile in a folder of it, and a clock of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.top, self.root = folder, folder / "모델 a"
        (self.root / "finetunes").mkdir(parents=True)
        git(folder, "init", "-q", "-b", "main", *options)

    def commit(self, lockfile: bytes | None, days_ago: float = 0.0) -> str:
        path = self.root / LOCKFILE
        if lockfile is None:
            path.unlink()
        else:
            path.write_bytes(lockfile)
        git(self.top, "add", "-A")
        date = f"@{int(time.time() - days_ago * 86_400)} +0000"
        setting = f"!GIT_COMMITTER_DATE='{date}' git commit -qm x"
        git(self.top, "-c", f"alias.at={setting}", "at")
        return git(self.top, "rev-parse", "HEAD").strip()


@pytest.fixture(params=["sha1", "sha256"])
def history(tmp_path, request):
    return History(tmp_path / "repository", f"--object-format={request.param}")


def test_recent_commits_and_the_last_before_them_name_builds(history):
    history.commit(text_of(OLD), 300)
    history.commit(text_of(SIDE), 200)
    history.commit(text_of(NOW), 10)
    assert named_in_git(history.root, DAYS) == {SIDE, NOW}
    assert named_in_git(history.root, 250) == {OLD, SIDE, NOW}


def test_a_merged_branch_whose_lockfile_lost_still_names_its_build(history):
    history.commit(text_of(NOW), 3)
    git(history.top, "checkout", "-qb", "side")
    history.commit(text_of(SIDE), 2)
    git(history.top, "checkout", "-q", "main")
    git(history.top, "merge", "-q", "-s", "ours", "-m", "x", "side")
    git(history.top, "branch", "-qD", "side")
    assert named_in_git(history.root, DAYS) == {SIDE, NOW}


def test_a_commit_of_a_slow_clock_hides_no_commit_below_it(history):
    history.commit(text_of(SIDE), 2)
    for _ in range(8):  # git looks a few commits further by itself
        history.commit(text_of(OLD), 9_000)
        history.commit(text_of(NOW), 9_000)
    assert {SIDE, NOW} <= named_in_git(history.root, DAYS)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"<<<<<<< HEAD\n" + text + b"=======\n{}\n>>>>>>> other\n",
        lambda text: text.replace(b'"format": 1', b'"format": 99'),
        lambda text: text.replace(b'"production"', b'"unknown": 1, "candidate"'),
        lambda text: text[:-6],
    ],
    ids=["conflict", "newer", "newer key", "cut off"],
)
def test_a_lockfile_that_cannot_be_parsed_still_names_its_builds(history, damage):
    history.commit(damage(text_of(SIDE)), 3)
    history.commit(text_of(NOW), 2)
    assert named_in_git(history.root, DAYS) == {SIDE, NOW}


def test_a_commit_without_a_lockfile_names_nothing(history):
    history.commit(text_of(SIDE), 3)
    history.commit(None, 2)
    assert named_in_git(history.root, DAYS) == {SIDE}


def test_an_object_that_cannot_be_read_stops_the_command(history):
    history.commit(text_of(SIDE), 3)
    blob = git(history.root, "rev-parse", f"HEAD:./{LOCKFILE}").strip()
    history.commit(text_of(NOW), 2)
    # As in a clone without blobs whose server is away.
    (history.top / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(FtctlError, match="nobody knows what it still names"):
        named_in_git(history.root, DAYS)


def test_a_folder_without_git_stops_the_command(tmp_path):
    with pytest.raises(FtctlError, match="cannot be read"):
        named_in_git(tmp_path, DAYS)
    git(tmp_path, "init", "-q")
    with pytest.raises(FtctlError, match="cannot be read"):
        named_in_git(tmp_path, DAYS)
