"""A plug-in that cannot be opened is named, and so is one that is not installed."""

import sys
from pathlib import Path

import pytest

from backends.contract.backend import Endpoint
from backends.contract.errors import (
    BackendError,
    BackendUnknown,
)
from backends.registry import open_backend
from tests.backends.contract.guard.acme import REMEDY


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that installs the backend `acme` with some source."""
    packages = tmp_path / "site-packages"
    info = packages / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ftctl.backends]\nacme = acme_ftctl:create\n")
    monkeypatch.setattr(sys, "path", [str(packages), *sys.path])

    def install(source: str) -> None:
        (packages / "acme_ftctl.py").write_text(source)
        monkeypatch.delitem(sys.modules, "acme_ftctl", raising=False)

    yield install
    sys.modules.pop("acme_ftctl", None)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_sdk", "failed: ModuleNotFoundError: No module named 'no_such_sdk' (acme"),
        ("def create(:", "failed: File"),
        ("x = 1", "failed: AttributeError"),
        ("def create(*_):\n    return {}['key']", "failed: KeyError: 'key' (acme_ftctl.py:2)"),
        ("def create(state):\n    pass", "failed: TypeError"),
        ("def create(*_):\n    pass", "returned None without capabilities, parse"),
    ],
)
def test_a_plug_in_that_cannot_be_opened_is_named(tmp_path: Path, plug_in, source: str, said: str):
    plug_in(source)
    with pytest.raises(BackendError) as caught:
        open_backend("acme", tmp_path, Endpoint(name="default"))
    assert caught.value.message.startswith(f"backend acme: create {said}")
    assert caught.value.remedy == REMEDY


def test_a_name_that_nobody_announced_is_answered_with_the_names_that_are(tmp_path: Path):
    with pytest.raises(BackendUnknown, match="no backend is called 'nobody'") as caught:
        open_backend("nobody", tmp_path, Endpoint(name="default"))
    assert caught.value.remedy == "Use one of: local-gpu, openai."
