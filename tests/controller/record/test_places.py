"""Models of other backends are recorded, too: of a plug-in, of this machine, of `ftctl serve`."""

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.children import ROOT, child
from tests.servers.hosted_service import rows
from tests.tiny_base import make_base

LOCAL = """\
backend: local-gpu
base_model: ../models/tiny
data:
  train:
    - path: data/triage.jsonl
  held_out: {fraction: 0.25}
hyperparameters: {num_train_epochs: 1, dtype: float32}
evaluation: {metrics: [accuracy], max_tokens: 4, compare_to: [production]}
gate: []
"""


@pytest.mark.usefixtures("installed")
def test_a_plug_in_without_prices_and_stored_completions(shell):
    shell.write(
        "finetunes/data/faq.csv", "question,answer\n" + "".join(f"q{n}?,a{n}.\n" for n in range(24))
    )
    shell.declare()
    assert shell("apply", "--auto-approve")[0] == 0
    answers = shell.root / ".ftctl/answers"
    for path in answers.glob("*"):
        path.unlink()
    code, text = shell("record", "faq", "--train", "4", "--yes")
    assert code == 0, text
    assert "11 of 11 answers in finetunes/recorded/" in text
    assert shell("record", "faq", "--train", "4")[0] == 0


@pytest.mark.torch
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("warm")
def test_a_model_of_this_machine_is_free(shell, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    make_base(shell.root / "models/tiny")
    shell.write("finetunes/data/triage.jsonl", rows(24))
    shell.write("finetunes/triage.yaml", LOCAL)
    code, text = shell("apply", "--auto-approve")
    assert code == 0, text
    code, text = shell("record", "triage", "--train", "3")
    assert code == 0, text
    assert "To ask: 3 answers.\nCost: $0.00." in text
    (path,) = (shell.root / "finetunes/recorded").glob("*")
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()[1:]]
    # What gates on `production.held_out_loss` need is kept, too.
    assert all(line["completion"]["reference_loss"] > 0 for line in lines)
    code, text = shell("record", "triage", "--train", "3")
    assert "Nothing to ask: all " in text


TOKEN = "token-of-nobody"


@contextmanager
def serving_at(root):
    """Run `ftctl serve` for a block; yield its address."""
    command = [sys.executable, "-m", "controller", "--dir", str(root), "serve", "--port", "0"]
    environment = {
        **os.environ,
        "FTCTL_SERVE_TOKEN": TOKEN,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    with child(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        yield re.search(r"http://\S+/v1", server.stdout.readline())[0]


SERVED = """\
backend: openai
endpoint: own
base_model: tiny
data:
  train:
    - path: data/triage.jsonl
  held_out: {fraction: 0.25}
hyperparameters: {n_epochs: 1}
evaluation: {metrics: [accuracy], max_tokens: 4, compare_to: [production]}
gate: []
"""


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_model_of_ftctl_serve_is_recorded_and_the_server_stopped(shell, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setenv("OWN_KEY", TOKEN)
    serving = tmp_path / "serving"
    (serving / "finetunes").mkdir(parents=True)
    (serving / "ftctl.yaml").write_text("serve: {base_models: [../models/tiny]}\n")
    make_base(serving / "models/tiny")
    shell.write("finetunes/data/triage.jsonl", rows(24))
    shell.write("finetunes/triage.yaml", SERVED)
    with serving_at(serving) as url:
        shell.write(
            "ftctl.yaml",
            f"endpoints: {{own: {{kind: compatible, base_url: '{url}', api_key_env: OWN_KEY}}}}\n",
        )
        code, text = shell("apply", "--auto-approve")
        assert code == 0, text
        code, text = shell("record", "triage", "--train", "3", "--stored", "5")
        assert code == 0, text
        # It gives no log-probabilities and stores nothing, and both are told.
        assert "Asked: 3 answers; " in text
        assert "lists no stored completions" in text
    for path in (shell.root / ".ftctl/answers").glob("*"):
        path.unlink()
    code, text = shell("record", "triage", "--train", "3", "--stored", "0")
    assert code == 0, text
    assert "Nothing to ask: all 6 answers are kept, at $0.00." in text
