"""What a pull request declares, trained before its merge and taken over after it."""

import json
from pathlib import Path

import pytest

from controller.lockfile.model import parse_lockfile
from controller.lockfile.pulls import REFSPEC, list_pulls, read_pulls
from tests.workflows.repositories import git

pytestmark = pytest.mark.usefixtures("installed")
REF = "refs/ftctl/pr-12"


@pytest.fixture
def pull(shell):
    """A repository whose model is in production, and a pull request that is checked out."""
    root = shell.root
    git(root, "init", "--quiet", "--initial-branch=main")
    shell.write(".gitignore", ".ftctl/\n")
    shell.declare(more="gate: []\n")
    assert shell("apply", "--auto-approve")[0] == 0
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Begin")
    git(root, "checkout", "--quiet", "-b", "more")
    shell.declare(more="gate: []\nseed: 7\n")
    git(root, "commit", "--quiet", "--all", "--message", "Another seed")
    return shell


def recorded(shell):
    lockfile = parse_lockfile((shell.root / "finetunes/ftctl.lock").read_bytes(), "")
    return lockfile.finetunes["faq"]


def entry_of(shell):
    (record,) = read_pulls(shell.root).records
    return record.lockfile.finetunes["faq"]


def merge(shell):
    git(shell.root, "checkout", "--quiet", "main")
    git(shell.root, "merge", "--quiet", "--no-edit", "more")


def test_training_before_the_merge_changes_nothing_else(pull):
    before = (pull.root / "finetunes/ftctl.lock").read_bytes()
    code, text = pull("train", "12", "--auto-approve")
    assert code == 0, text
    assert f"Recorded as {REF}" in text
    assert pull.backend.submitted == 2
    assert (pull.root / "finetunes/ftctl.lock").read_bytes() == before
    entry = entry_of(pull)
    (build,) = entry.builds.values()
    assert entry.candidate == build.fingerprint
    assert entry.production is None
    assert build.evaluation is not None
    assert git(pull.root, "status", "--porcelain") == ""


def test_merging_is_a_pointer_move(pull):
    pull("train", "12", "--auto-approve")
    merge(pull)
    _, text = pull("plan")
    assert "Plan: 1 already trained.\nCost: 1 reused at $0.00." in text
    assert "already trained before the merge, for pull request 12, on " in text
    _, comment = pull("plan", "--format", "github")
    assert "already trained before the merge, for pull request 12" in comment
    _, plan = pull.json("plan")
    assert plan["actions"][0]["trained_for_pull"] == 12
    was = recorded(pull)
    code, text = pull("apply", "--auto-approve")
    assert code == 0, text
    assert pull.backend.submitted == 2
    now = recorded(pull)
    assert now.production == entry_of(pull).candidate != was.production
    assert now.builds.keys() > was.builds.keys()
    assert "No changes" in pull("plan")[1]


def test_what_was_approved_before_the_training_covers_the_pointer_move(pull, tmp_path: Path):
    saved = tmp_path / "plan.json"
    pull("plan", "--out", str(saved))
    assert json.loads(saved.read_text())["actions"][0]["action"] == "train"
    pull("train", "12", "--auto-approve")
    merge(pull)
    code, text = pull("apply", "--approved", str(saved))
    assert code == 0, text
    assert recorded(pull).production == entry_of(pull).candidate


def test_a_second_label_trains_nothing_again(pull):
    for _ in range(2):
        assert pull("train", "12", "--auto-approve")[0] == 0
    assert "Nothing to train" in pull("train", "12", "--auto-approve")[1]
    assert pull.backend.submitted == 2


def test_a_run_that_dies_is_continued_by_another(pull):
    pull("train", "12", "--auto-approve", "--no-wait")
    pull.backend.set_script("job-2", "running", "running", "running", "succeeded")
    assert entry_of(pull).job.id == "job-2"
    # A machine without this one's records: git alone knows them.
    (pull.root / ".ftctl/pulls/12/ftctl.lock").unlink()
    code, text = pull("train", "12", "--auto-approve")
    assert code == 0, text
    assert entry_of(pull).job is None
    assert pull.backend.submitted == 2


def test_nobody_approves_without_a_terminal(pull):
    code, text = pull("train", "12")
    assert code == 1, text
    assert pull.backend.submitted == 1
    assert list_pulls(pull.root) == {}


def test_a_cancelled_job_is_no_record_any_more(pull):
    pull("train", "12", "--auto-approve", "--no-wait")
    pull.backend.set_script("job-2", *["running"] * 50)
    code, text = pull("train", "12", "--cancel")
    assert code == 0, text
    assert "faq: asked job job-2 to stop" in text
    assert list_pulls(pull.root) == {}
    pull("train", "12", "--auto-approve")
    assert pull.backend.submitted == 3


def test_a_job_of_the_branch_is_neither_cancelled_nor_joined_by_mistake(pull):
    """The branch trains one thing, the pull request another: each keeps its own job."""
    merge(pull)
    pull.declare(more="gate: []\nseed: 8\n")
    pull("apply", "--auto-approve", "--no-wait")
    pull.backend.set_script("job-2", *["running"] * 50)
    pull.declare(more="gate: []\nseed: 9\n")
    code, text = pull("train", "13", "--auto-approve")
    assert code == 0, text
    assert "cancels" not in text
    assert recorded(pull).job.id == "job-2"
    # The same inputs as the branch's job: joined, and left alone by --cancel.
    pull.declare(more="gate: []\nseed: 8\n")
    pull("train", "14", "--auto-approve", "--no-wait")
    assert pull.backend.submitted == 3
    assert "continues: the repository follows it too" in pull("train", "14", "--cancel")[1]


def test_a_newer_push_trains_its_own_inputs(pull):
    pull("train", "12", "--auto-approve")
    first = entry_of(pull).candidate
    pull.declare(more="gate: []\nseed: 8\n")
    pull("train", "12", "--auto-approve")
    entry = entry_of(pull)
    assert first in entry.builds
    assert entry.candidate not in {None, first}


def test_another_clone_takes_over_what_it_fetched(pull, tmp_path: Path, monkeypatch):
    pull("train", "12", "--auto-approve")
    merge(pull)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(pull.root), str(clone))
    monkeypatch.setenv("FTCTL_STATE_DIR", str(pull.root / ".ftctl"))
    pull.root = clone
    assert "1 already trained" not in pull("plan")[1]
    git(clone, "fetch", "--quiet", "--prune", "origin", REFSPEC)
    assert "1 already trained" in pull("plan")[1]
    git(clone, "push", "--quiet", "origin", f":{REF}")
    git(clone, "fetch", "--quiet", "--prune", "origin", REFSPEC)
    assert "1 already trained" not in pull("plan")[1]


def test_records_that_cannot_be_read_are_named(pull):
    pull("train", "12", "--auto-approve")
    broken = git(pull.root, "rev-parse", "HEAD").strip()
    git(pull.root, "update-ref", REF, broken)
    text = (pull.root / "finetunes/ftctl.lock").read_text()
    (pull.root / "finetunes/ftctl.lock").write_text(f"{text}}}")
    git(pull.root, "commit", "--quiet", "--all", "--message", "Broken")
    git(pull.root, "update-ref", REF, "HEAD")
    git(pull.root, "reset", "--quiet", "--hard", "HEAD^")
    merge(pull)
    assert "what was trained for a pull request cannot be read" in pull("plan")[1]
    code, text = pull("train", "12", "--auto-approve")
    assert code == 1
    assert f"git update-ref -d {REF}" in text
