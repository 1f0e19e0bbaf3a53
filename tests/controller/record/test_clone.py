"""A fresh clone, with the old service off: gates on production stand on the committed answers."""

import subprocess

import pytest

from tests.controller.cli.conftest import Shell
from tests.servers.hosted_service import LABELS

WHO = ("-c", "user.name=ftctl", "-c", "user.email=ftctl@acme.example")


def git(folder, *arguments):
    subprocess.run(
        ["git", *WHO, *arguments], cwd=folder, check=True, capture_output=True, timeout=60
    )


@pytest.fixture
def clone(hosted, tmp_path, capsys):
    """Return a fresh clone of a repository whose model was recorded, with its service off."""
    hosted.train()
    assert hosted.shell("record", "triage", "--yes")[0] == 0
    root = hosted.shell.root
    hosted.shell.write(".gitignore", ".ftctl/\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "Record what triage says")
    git(tmp_path, "clone", "-q", str(root), "clone")
    hosted.hosted.close()
    hosted.shell = Shell(root=tmp_path / "clone", capsys=capsys)
    return hosted


def move(clone, metric="accuracy", **changes):
    """Move the fine-tune to the other server, under a gate on the old model."""
    changes = {
        "compare_to": "production",
        "gate": f'"{metric} >= production.{metric} - 0.02"',
    } | changes
    clone.declare(endpoint="home", **changes)
    return clone.shell("apply", "--auto-approve")


def test_a_move_is_judged_by_the_answers_of_a_model_that_is_gone(clone):
    code, text = move(clone)
    assert code == 0, text
    assert "gate passed" in text
    code, text = clone.shell("show", "triage")
    assert "accuracy   1           1" in text
    # Both answers stand side by side.
    assert "production  " in text.partition("answers on held-out examples")[2]


def test_a_metric_that_the_old_model_was_never_measured_by_works(clone):
    code, text = move(clone, metric="chrf", metrics="accuracy, chrf")
    assert code == 0, text
    assert "passed: chrf >= production.chrf - 0.02" in text


@pytest.mark.slow
def test_a_worse_model_does_not_pass_and_a_later_metric_says_so_too(clone):
    clone.home.answer = lambda _: LABELS[0]
    code, text = move(clone)
    assert code == 4, text
    assert "production.accuracy" in text
    asked = len(clone.chats(clone.home))
    code, text = move(clone, metric="exact_match", metrics="accuracy, exact_match")
    assert code == 4, text
    assert "exact_match >= production.exact_match - 0.02" in text
    # The new metric asks neither the old service nor the new one.
    assert len(clone.chats(clone.home)) == asked


def test_without_the_committed_answers_nothing_is_kept(clone):
    """The counter-test: the answers that were committed are what the gate stands on."""
    for path in (clone.shell.root / "finetunes/recorded").glob("*"):
        path.unlink()
    code, text = clone.shell("record", "triage", "--train", "0")
    assert code == 1
    assert "Kept: 0 of 7 held-out rows." in text
