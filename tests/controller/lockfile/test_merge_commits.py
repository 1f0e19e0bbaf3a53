"""The merge of two commits' lockfiles: a commit that git cannot read deletes no record."""

import json
from pathlib import Path

import pytest

from controller.lockfile.merge import main
from controller.lockfile.model import Entry, Lockfile, dump_lockfile
from controller.lockfile.store import LOCKFILE
from tests.watched import git

NONE = "0" * 40


def text_of(*names: str) -> bytes:
    return dump_lockfile(Lockfile(finetunes={name: Entry(protect=True) for name in names}))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "finetunes").mkdir()
    git(tmp_path, "init", "-q")
    (tmp_path / "ours").write_bytes(text_of("a", "ours"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commit(root: Path, text: bytes | None) -> str:
    path = root / LOCKFILE
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_bytes(text)
    git(root, "add", "-A", "finetunes")
    git(root, "commit", "-qm", "x", "--allow-empty")
    return git(root, "rev-parse", "HEAD").strip()


def merged(root: Path, base: str, tip: str, output) -> set[str]:
    assert main(LOCKFILE, str(root / "ours"), base, tip) == 0
    return {*json.loads(output.readouterr().out)["finetunes"]}


def test_what_either_side_recorded_is_in_the_merge(root, capfdbinary):
    base, tip = commit(root, text_of("a")), commit(root, text_of("a", "theirs"))
    assert merged(root, base, tip, capfdbinary) == {"a", "ours", "theirs"}


@pytest.mark.parametrize("tip", [NONE, None], ids=["no commit", "no file"])
def test_a_branch_without_a_lockfile_gets_ours(root, capfdbinary, tip):
    base = commit(root, None)
    assert merged(root, base, tip or base, capfdbinary) == {"a", "ours"}


@pytest.mark.parametrize("side", ["base", "tip"])
@pytest.mark.parametrize("what", ["blob", "tree", "commit"])
def test_a_commit_that_git_cannot_read_deletes_no_record(root, capfdbinary, side, what):
    base, tip = commit(root, text_of("a")), commit(root, text_of("a", "theirs"))
    damaged = base if side == "base" else tip
    name = f"{damaged}:{LOCKFILE}" if what == "blob" else f"{damaged}^{{{what}}}"
    digits = git(root, "rev-parse", name).strip()
    (root / ".git/objects" / digits[:2] / digits[2:]).unlink()
    assert main(LOCKFILE, str(root / "ours"), base, tip) == 1
    written = capfdbinary.readouterr()
    assert written.out == b""
    assert f"git cannot read {LOCKFILE} of {damaged}".encode() in written.err
