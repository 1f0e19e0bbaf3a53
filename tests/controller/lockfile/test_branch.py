"""Records on a branch: what git cannot read is not taken for absent."""

from pathlib import Path

import pytest

from controller.errors import LockfileInvalid
from controller.lockfile.model import Lockfile, dump_lockfile
from controller.lockfile.store import LOCKFILE, lock_lockfile, read_lockfile
from tests.watched import git

REF = "refs/remotes/origin/records"


@pytest.fixture(params=["", "모델 a"], ids=["top", "below"])
def root(tmp_path: Path, request, make) -> Path:
    """A repository whose branch of records was fetched, with the settings that name it."""
    top = tmp_path / "repository"
    root = top / request.param
    (root / "finetunes").mkdir(parents=True)
    git(top, "init", "-q", "-b", "main")
    (root / LOCKFILE).write_bytes(dump_lockfile(Lockfile(finetunes={"faq": make.entry()})))
    git(top, "add", "-A")
    git(top, "commit", "-qm", "Record")
    git(top, "update-ref", REF, "HEAD")
    (root / LOCKFILE).unlink()
    (root / "ftctl.yaml").write_text("lockfile: {branch: records}\n")
    return root


def read(root: Path) -> set[str]:
    return {*read_lockfile(root, root / ".ftctl").finetunes}


def object_at(root: Path, name: str) -> Path:
    """Return the file of an object of git."""
    digits = git(root, "rev-parse", name).strip()
    folder = git(root, "rev-parse", "--absolute-git-dir").strip()
    return Path(folder) / "objects" / digits[:2] / digits[2:]


def test_records_come_from_the_branch_and_are_added_to(root, make):
    assert read(root) == {"faq"}
    with lock_lockfile(root, root / ".ftctl", timeout_s=5, purpose="test") as locked:
        locked.record("other", make.entry())
    assert read(root) == {"faq", "other"}


@pytest.mark.parametrize("way", ["never fetched", "no file", "no repository"])
def test_what_is_not_there_records_nothing(root, tmp_path, way):
    if way == "never fetched":
        git(root, "update-ref", "-d", REF)
    elif way == "no file":
        git(root, "add", "-A")
        git(root, "commit", "-qm", "Forget")
        git(root, "update-ref", REF, "HEAD")
    else:
        (tmp_path / "repository/.git").rename(tmp_path / "elsewhere")
    assert read(root) == set()


@pytest.mark.parametrize("way", ["blob", "tree", "commit", "worktree", "another's", "version"])
def test_what_git_cannot_read_is_not_taken_for_absent(root, tmp_path, monkeypatch, way):
    top = tmp_path / "repository"
    if way == "blob":  # as in a clone without blobs whose server is away
        object_at(root, f"{REF}:./{LOCKFILE}").unlink()
    elif way in ("tree", "commit"):
        object_at(root, f"{REF}^{{{way}}}").unlink()
    elif way == "worktree":  # of a clone that was moved
        (top / ".git").rename(tmp_path / "elsewhere")
        (top / ".git").write_text(f"gitdir: {tmp_path}/moved/.git/worktrees/a\n")
    elif way == "another's":
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    else:
        git(root, "config", "core.repositoryFormatVersion", "999")
    with pytest.raises(LockfileInvalid, match="git cannot read it from the branch records"):
        read(root)
    with (
        pytest.raises(LockfileInvalid),
        lock_lockfile(root, root / ".ftctl", timeout_s=5, purpose="test"),
    ):
        raise AssertionError("nothing may be recorded")
    assert not (root / LOCKFILE).exists()
