"""The command line over a backend with hooks and faults."""

import sys

import pytest

from tests.controller.run.distrust.distrusted import PLUGIN, ROWS, Shell


@pytest.fixture
def shell(tmp_path, capsys, monkeypatch):
    for name in ("FTCTL_STATE_DIR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    packages = tmp_path / "packages"
    info = packages / "ftctl_odd-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ftctl-odd\nVersion: 1.0\n")
    entries = "[ftctl.backends]\nodd = odd_plugin:create\nscripted = backends.testing:create\n"
    (info / "entry_points.txt").write_text(entries)
    (packages / "odd_plugin.py").write_text(PLUGIN.format(folder=str(tmp_path)))
    monkeypatch.setattr(sys, "path", [str(packages), *sys.path])
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    root = tmp_path / "repository"
    (root / "finetunes/data").mkdir(parents=True)
    (root / "finetunes/data/faq.csv").write_text(ROWS)
    for folder in ("hooks", "faults"):
        (tmp_path / folder).mkdir()
    yield Shell(root=root, top=tmp_path, capsys=capsys)
    sys.modules.pop("odd_plugin", None)
