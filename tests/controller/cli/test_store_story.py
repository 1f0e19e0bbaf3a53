"""A model that is trained in one clone and used in another, through a store, with a real training."""

import json
import subprocess

import pytest

from controller.cli import run
from tests.tiny_base import make_base

pytestmark = [pytest.mark.torch, pytest.mark.slow]
SPEC = """\
backend: local-gpu
base_model: ../models/small
data:
  train: [{path: data/faq.csv, columns: {user: question, assistant: answer}}]
  held_out: {fraction: 0.25}
hyperparameters: {num_train_epochs: 1, per_device_train_batch_size: 8, r: 4}
evaluation: {metrics: [exact_match], max_tokens: 4}
gate: []
"""


def git(folder, *arguments):
    config = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(
        ["git", *config, "-C", str(folder), *arguments], check=True, capture_output=True, timeout=60
    )


def test_what_one_clone_trained_another_one_uses(shell, warm, monkeypatch, tmp_path):
    del warm
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "shared").mkdir()
    make_base(shell.root / "models/small")
    shell.write("ftctl.yaml", f"store: {{url: {tmp_path / 'shared'}}}\n")
    shell.write(".gitignore", ".ftctl/\n")
    shell.write("finetunes/faq.yaml", SPEC)
    git(shell.root, "init", "-q")
    for seed in ("seed: 1\n", "seed: 2\n"):
        shell.write("finetunes/faq.yaml", SPEC + seed)
        code, text = shell("apply", "-y")
        assert code == 0, text
        git(shell.root, "add", "-A")
        git(shell.root, "commit", "-qm", "one")
    first = _answer(shell, shell.root)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(shell.root), str(clone))
    # From here on the first clone and its models are out of reach.
    shell.root.rename(tmp_path / "gone")
    shell.root = clone
    assert "No changes" in shell("plan")[1]
    assert _answer(shell, clone) == first
    code, text = shell("model", "faq", "--path")
    assert code == 0, text
    git(clone, "revert", "--no-edit", "HEAD")
    git(clone, "checkout", "HEAD~1", "--", "finetunes/ftctl.lock")
    code, text = shell("apply", "-y")
    assert code == 0, text
    assert "1 reused" in text
    entry = json.loads((clone / "finetunes/ftctl.lock").read_text())["finetunes"]["faq"]
    assert entry["builds"][entry["production"]]["inputs"]["seed"] == 1
    code, text = shell("evaluate", "faq", "-y")
    assert code == 0, text
    runs = sorted((clone / ".ftctl/runs").iterdir())
    assert len(runs) == 2
    assert not any((path / "worker.json").exists() for path in runs)  # nothing was trained


def _answer(shell, root):
    assert run(["--dir", str(root), "chat", "faq", "-m", "q1?", "--max-tokens", "4"]) == 0
    return shell.capsys.readouterr().out
