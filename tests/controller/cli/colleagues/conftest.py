"""The command line with a backend whose jobs run until a test ends them."""

import sys
from pathlib import Path

import pytest

from tests.controller.cli.colleagues.people import PLUGIN


@pytest.fixture
def shell(shell, installed, tmp_path: Path):
    del installed
    packages = tmp_path / "site-packages"
    (packages / "priced_plugin.py").write_text(PLUGIN.format(folder=str(tmp_path)))
    entries = packages / "ftctl_scripted-1.0.dist-info" / "entry_points.txt"
    entries.write_text(entries.read_text() + "priced = priced_plugin:create\n")
    shell.packages = packages
    yield shell
    sys.modules.pop("priced_plugin", None)
