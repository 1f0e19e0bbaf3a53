"""Configurations of other tools, in the style of each, and a repository that is to adopt them."""

import json
import shutil
from pathlib import Path

import pytest

from tests.controller.cli.conftest import Shell

FILES = Path(__file__).parent / "files"


@pytest.fixture
def shell(tmp_path, capsys, monkeypatch):
    for name in ("FTCTL_STATE_DIR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "repository"
    (root / "finetunes").mkdir(parents=True)
    monkeypatch.chdir(root)
    return Shell(root=root, capsys=capsys)


@pytest.fixture
def elsewhere(tmp_path):
    """Return a folder outside the repository with the configurations and their data."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(FILES, folder)
    turns = [{"from": "human", "value": "Open?"}, {"from": "gpt", "value": "From nine."}]
    for name in ("data/tickets.jsonl", "data/held-out.jsonl"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps({"conversations": turns}) + "\n")
    (folder / "lf_data/tickets.json").write_text("[]")
    (folder / "lf_data/columns.csv").write_text("question,answer,tone\n")
    return folder
