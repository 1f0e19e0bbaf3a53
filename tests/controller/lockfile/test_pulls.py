"""Records of pull requests in repositories of every kind."""

import os
import unicodedata
from pathlib import Path

import pytest

from controller.lockfile.early import PullRecord
from controller.lockfile.model import Lockfile
from controller.lockfile.pulls import PREFIX, list_pulls, read_pulls, write_pull
from tests.watched import git

NAMES = {
    "top": b"",
    "below": b"a/b/c",
    "blanks": b" a  b ",
    "hangul": "모델".encode(),
    "hangul in parts": unicodedata.normalize("NFD", "모델").encode(),
    "not UTF-8": b"mod\xe8les",
    "marks": b"a\tb\"c'd[e]*",
}
SETTINGS = {
    "commit.gpgSign": "true",
    "gpg.program": "false",
    "core.autocrlf": "true",
    "core.quotePath": "true",
    "core.hooksPath": "hooks",
    "i18n.commitEncoding": "EUC-KR",
    "core.precomposeUnicode": "true",
}


def repository(top: Path, name: bytes = b"", *options: str) -> Path:
    root = Path(os.fsdecode(os.fsencode(top) + b"/" + name)) if name else top
    (root / "finetunes").mkdir(parents=True)
    git(top, "init", "-q", *options)
    return root


def record(make, pull: int = 12, name: str = "faq") -> PullRecord:
    return PullRecord(pull=pull, lockfile=Lockfile(finetunes={name: make.entry(protect=True)}))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_records_are_read_as_they_were_written_in_a_folder_of_any_name(tmp_path, make, name, form):
    root = repository(tmp_path / "r", NAMES[name], f"--object-format={form}")
    assert write_pull(root, record(make))
    assert not write_pull(root, record(make))
    assert read_pulls(root).records == (record(make),)
    assert write_pull(root, PullRecord(pull=12, lockfile=Lockfile()))
    assert list_pulls(root) == {}


def test_settings_and_hooks_of_a_person_change_no_record(tmp_path, make):
    root = repository(tmp_path / "r")
    for key, value in SETTINGS.items():
        git(root, "config", key, value)
    (root / "hooks").mkdir()
    for hook in ("pre-commit", "commit-msg", "post-commit"):
        (root / "hooks" / hook).write_text("#!/bin/sh\nexit 1\n")
        (root / "hooks" / hook).chmod(0o755)
    (root / ".gitattributes").write_text("* text eol=crlf\n")
    assert write_pull(root, record(make, name="챗봇"))
    assert read_pulls(root).records == (record(make, name="챗봇"),)


def test_worktrees_of_a_clone_share_the_records(tmp_path, make):
    root = repository(tmp_path / "r")
    git(root, "commit", "-qm", "x", "--allow-empty")
    git(root, "worktree", "add", "-q", "--detach", str(tmp_path / "beside"))
    assert write_pull(tmp_path / "beside", record(make))
    assert read_pulls(root).records == (record(make),)


def test_records_of_another_folder_are_left_alone(tmp_path, make):
    one = repository(tmp_path / "r", b"one")
    (tmp_path / "r/other/finetunes").mkdir(parents=True)
    write_pull(one, record(make))
    found = read_pulls(tmp_path / "r/other")
    assert (found.records, found.unreadable) == ((), {})


def test_records_that_git_cannot_read_are_named(tmp_path, make):
    root = repository(tmp_path / "r")
    write_pull(root, record(make, 3))
    write_pull(root, record(make, 12, "other"))
    digits = git(root, "rev-parse", f"{PREFIX}12:finetunes/ftctl.lock").strip()
    (root / ".git/objects" / digits[:2] / digits[2:]).unlink()
    found = read_pulls(root)
    assert found.records == (record(make, 3),)
    assert found.unreadable == {f"{PREFIX}12": f"{PREFIX}12: git cannot read it"}


def test_other_references_are_no_records(tmp_path, make):
    root = repository(tmp_path / "r")
    write_pull(root, record(make))
    for name in ("pr-012", "pr-x", "pr-12x", "pr-0", "pr--1"):
        git(root, "update-ref", f"refs/ftctl/{name}", f"{PREFIX}12")
    assert list_pulls(root).keys() == {12}
