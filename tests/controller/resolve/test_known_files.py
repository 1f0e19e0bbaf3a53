"""Files that git or a memo knows are not read again, and nothing changed is missed."""

import os
import subprocess
import time

from controller.data.sources.inspect_file import inspect_file
from controller.plan.actions import Train
from controller.plan.approval import decisions_of
from controller.project.project import known_blobs


def git(root, *arguments):
    subprocess.run(
        ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        check=True,
        capture_output=True,
        timeout=110,
    )


def test_only_files_that_are_as_git_knows_them_have_a_blob(tmp_path):
    for name in ("kept.csv", "changed.csv", "flagged.csv"):
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / "link.csv").symlink_to("kept.csv")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "all")
    git(tmp_path, "update-index", "--assume-unchanged", "flagged.csv")
    (tmp_path / "changed.csv").write_text("other\n")
    (tmp_path / "new.csv").write_text("new\n")
    found = known_blobs(tmp_path)
    assert set(found) == {tmp_path / "kept.csv"}
    assert known_blobs(tmp_path / "nowhere") == {}


def test_git_is_asked_when_a_file_is_looked_up(tmp_path):
    found = known_blobs(tmp_path)
    path = tmp_path / "a.csv"
    path.write_text("q\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "all")
    assert found.get(tmp_path / "none.csv") is None
    blob = found[path]
    # Once: what is said of one file is said of all at the same moment.
    git(tmp_path, "rm", "-q", "--cached", "a.csv")
    assert dict(found) == {path: blob}


def test_names_of_tracked_files_need_not_be_utf8(tmp_path):
    names = (
        b"\xb0\xa1.csv",
        b" first.csv",
        "질문.csv".encode(),
        b"a\r\nb.csv",
        b"changed\xff",
    )
    for name in names:
        (tmp_path / os.fsdecode(name)).write_text("q\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "all")
    for name in (names[1], names[-1]):
        (tmp_path / os.fsdecode(name)).write_text("other\n")
    found = known_blobs(tmp_path)
    assert {os.fsencode(path.name) for path in found} == {names[0], names[2], names[3]}


def test_a_fresh_clone_reads_no_unchanged_source(tmp_path):
    old, new, memos = tmp_path / "old", tmp_path / "new", tmp_path / "memos"
    old.mkdir()
    (old / "a.csv").write_text("question,answer\n" * 100)
    git(old, "init", "-q")
    git(old, "add", ".")
    git(old, "commit", "-qm", "all")
    time.sleep(0.05)
    info = inspect_file(
        old / "a.csv", memos, file_format="csv", blob=known_blobs(old)[old / "a.csv"]
    )
    # Were the clone read, this would not show.
    (told,) = memos.glob("blob-*")
    told.write_text(told.read_text().replace(info.sha256, "0" * 64))
    subprocess.run(
        ["git", "clone", "-q", str(old), str(new)], check=True, capture_output=True, timeout=110
    )
    time.sleep(0.05)
    blob = known_blobs(new)[new / "a.csv"]
    again = inspect_file(new / "a.csv", memos, file_format="csv", blob=blob)
    assert (again.sha256, again.encoding) == ("0" * 64, info.encoding)
    (new / "a.csv").write_text("question,answeR\n" * 100)
    assert inspect_file(new / "a.csv", memos, file_format="csv", blob=blob).sha256 not in (
        again.sha256,
        info.sha256,
    )


def remembered(repo):
    """Let a plan remember everything: files are old enough two seconds after they were written."""
    time.sleep(2.1)
    assert repo.planned().plan.actions == ()
    memos = [repo.project.state / name for name in ("specs.json", "datasets.json")]
    assert all(memo.exists() for memo in memos)
    return memos


def test_a_plan_by_memos_sees_data_of_the_same_size_and_time(repo):
    repo.declare()
    repo.settle()
    remembered(repo)
    path = repo.root / "finetunes" / "data" / "faq.csv"
    status, content = path.stat(), path.read_text()
    path.write_text(content.replace("1", "2"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    [action] = repo.planned().plan.actions
    assert isinstance(action, Train)
    path.write_text(content)
    assert repo.planned().plan.actions == ()


def test_a_plan_by_memos_sees_a_spec_of_the_same_size_and_time(repo):
    repo.declare(seed=1)
    repo.settle()
    remembered(repo)
    path = repo.root / "finetunes" / "faq.yaml"
    status = path.stat()
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    [action] = repo.planned().plan.actions
    assert isinstance(action, Train)


def test_a_plan_by_memos_decides_the_same(repo):
    repo.declare(gate=["held_out_loss < 9"])
    repo.declare("other", seed=7)
    repo.settle()
    first = repo.planned()
    for memo in remembered(repo):
        memo.write_bytes(memo.read_bytes())
    again = repo.planned()
    assert again.plan == first.plan
    assert again.plan.id == first.plan.id
    assert again.resolved.desired == first.resolved.desired
    assert again.resolved.requests == first.resolved.requests
    assert again.resolved.datasets == first.resolved.datasets


def test_decisions_are_those_of_the_readable_specs(repo):
    repo.declare()
    repo.declare("other", seed=7)
    repo.declare("broken", seed="x")
    planned = repo.planned()
    decisions = planned.plan.decisions
    assert dict(decisions) == {
        name: decisions_of(desired) for name, desired in planned.desired.items()
    }
    assert list(decisions) == ["faq", "other"]
    assert (len(decisions), "faq" in decisions, "broken" in decisions) == (2, True, False)
    assert decisions.get("broken") is None
