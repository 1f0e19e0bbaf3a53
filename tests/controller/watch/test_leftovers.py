"""What killed commands of git leave in the clone, and settings of git that people have."""

import shutil

import pytest

from controller.lockfile.pulls import PREFIX, list_pulls
from controller.watch.clone.git import GitFailed
from tests.controller.watch.clones import Clone
from tests.controller.watch.test_pulls import trained
from tests.watched import Remote, git
from tests.workflows.repositories import entry

LEFT = [
    "HEAD.lock",
    "ORIG_HEAD.lock",
    "config.lock",
    "ftctl-index.lock",
    "index.lock",
    "packed-refs.lock",
    "packed-refs.new",
    "shallow.lock",
    "refs/ftctl/checkout.lock",
    "refs/ftctl/pr-3.lock",
    "refs/ftctl/pr-12.lock",
    "refs/remotes/origin/main.lock",
    "refs/remotes/origin/HEAD.lock",
]


@pytest.fixture
def remote(tmp_path):
    found = Remote(tmp_path)
    found.merge({"finetunes/a.yaml": "backend: x\n"})
    return found


@pytest.mark.parametrize("packed", [False, True], ids=["loose", "packed"])
def test_files_that_killed_commands_of_git_left_stop_no_later_one(tmp_path, remote, packed):
    """The service is started again, and everything that it does with git works."""
    trained(remote, 3, 1)
    clone = Clone(tmp_path / "clone", remote)
    clone.sync()
    if packed:
        git(clone.folder, "pack-refs", "--all")
    clone.write({"a": entry(1)})
    trained(remote, 12, 2)
    git(remote.origin, "update-ref", "-d", f"{PREFIX}3")
    remote.merge({"finetunes/b.yaml": "backend: y\n"})
    for name in LEFT:
        (clone.folder / ".git" / name).parent.mkdir(parents=True, exist_ok=True)
        (clone.folder / ".git" / name).write_bytes(b"")

    again = Clone(tmp_path / "clone", remote)
    synced = again.sync(always=True)

    assert (synced.failure, synced.recorded) == (None, ("a",))
    assert remote.recorded() == again.recorded() == {"a": entry(1)}
    assert (again.folder / "finetunes/b.yaml").exists()
    assert sorted(list_pulls(again.folder)) == [12]


@pytest.mark.parametrize("folder", ["", "모델 [a]*"], ids=["top", "below"])
def test_what_nobody_merged_is_removed_and_what_else_git_ignores_stays(tmp_path, remote, folder):
    place = f"{folder}/".lstrip("/")
    remote.merge(
        {f"{place}finetunes/a.yaml": "backend: x\n", ".gitignore": "*.own.*\nftctl.yaml\n"}
    )
    clone = Clone(tmp_path / "clone", remote, subfolder=folder)
    clone.sync()
    root = clone.folder / folder
    removed = ["b.yaml", "b.own.yaml", "b.own.yml", "data/rows.csv", "../ftctl.yaml"]
    kept = ["data/rows.own.csv", "recorded/answers.jsonl", "a.yaml", "../own.txt"]
    for name in (*removed, *kept):
        (root / "finetunes" / name).parent.mkdir(exist_ok=True)
        (root / "finetunes" / name).write_text("backend: x\n")
    clone.sync(always=True)
    assert [name for name in removed if (root / "finetunes" / name).exists()] == []
    assert [name for name in kept if not (root / "finetunes" / name).exists()] == []


@pytest.mark.parametrize(("server", "here"), [("sha256", "sha1"), ("sha1", "sha256")])
def test_a_server_with_digests_of_another_kind_is_followed(tmp_path, monkeypatch, server, here):
    monkeypatch.setenv("GIT_DEFAULT_HASH", server)
    remote = Remote(tmp_path)
    first = remote.merge({"finetunes/a.yaml": "backend: x\n"})
    clone = Clone(tmp_path / "clone", remote, GIT_DEFAULT_HASH=here)
    assert clone.sync().tip == first
    clone.write({"a": entry(1)})
    assert Clone(tmp_path / "clone", remote, GIT_DEFAULT_HASH=here).sync().recorded == ("a",)
    assert remote.recorded() == {"a": entry(1)}


def test_a_server_that_changed_its_kind_of_digests_costs_no_record(tmp_path, remote, monkeypatch):
    clone = Clone(tmp_path / "clone", remote)
    clone.sync()
    clone.write({"a": entry(1)})
    shutil.rmtree(remote.origin)
    monkeypatch.setenv("GIT_DEFAULT_HASH", "sha256")
    (tmp_path / "other").mkdir()
    other = Remote(tmp_path / "other")
    other.merge({"finetunes/a.yaml": "backend: x\n"})
    other.origin.rename(remote.origin)
    with pytest.raises(GitFailed, match="mismatched algorithms"):
        clone.sync()
    assert clone.recorded() == {"a": entry(1)}
    assert clone.checkout.head is not None


SETTINGS = """\
[core]
\tautocrlf = true
\tsafecrlf = true
\tquotePath = true
\teol = crlf
\thooksPath = {hooks}
\texcludesFile = {excludes}
[color]
\tui = always
[commit]
\tgpgSign = true
[tag]
\tgpgSign = true
[gpg]
\tprogram = false
[push]
\tdefault = nothing
\tfollowTags = true
[fetch]
\tprune = true
\tpruneTags = true
\trecurseSubmodules = true
[submodule]
\trecurse = true
[clean]
\trequireForce = true
[log]
\tshowSignature = true
[i18n]
\tcommitEncoding = EUC-KR
\tlogOutputEncoding = EUC-KR
[transfer]
\tfsckObjects = true
[gc]
\tauto = 1
[user]
\tuseConfigOnly = true
[status]
\tshowUntrackedFiles = no
[rerere]
\tenabled = true
"""


def test_settings_of_a_person_change_nothing_that_the_service_does(tmp_path, remote):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in (
        "pre-commit",
        "commit-msg",
        "prepare-commit-msg",
        "post-checkout",
        "pre-merge-commit",
    ):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    (tmp_path / "excludes").write_text("*\n")
    given = SETTINGS.format(hooks=hooks, excludes=tmp_path / "excludes")
    (tmp_path / "settings").write_text(given)
    own = {"GIT_CONFIG_GLOBAL": str(tmp_path / "settings"), "GIT_PAGER": "false"}
    clone = Clone(tmp_path / "clone", remote, **own)
    clone.sync()
    (clone.folder / "finetunes/nobody-merged.yaml").write_text("backend: x\n")
    clone.write({"카페 a": entry(1)})
    remote.merge({"finetunes/카페 a.yaml": "backend: y\n", ".gitattributes": "* text=auto\n"})
    assert clone.sync().recorded == ("카페 a",)
    assert remote.recorded() == clone.recorded() == {"카페 a": entry(1)}
    assert (clone.folder / "finetunes/카페 a.yaml").read_bytes() == b"backend: y\n"
    assert not (clone.folder / "finetunes/nobody-merged.yaml").exists()
