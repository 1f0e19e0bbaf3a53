"""What is said where the package of an extra is not installed."""

import sys
from pathlib import Path

import pytest

import controller.data.fetch
from backends.installation import install_command
from controller.data.errors import SourceUnavailable
from controller.data.fetch import fetch, fetch_saved
from controller.data.fetch.snapshot import FetchRequest
from controller.spec.data import Source

OURS = "controller.data.fetch."


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch):
    def hide(package: str) -> None:
        for name in list(sys.modules):
            if name.startswith(OURS):
                # Imported anew it is another module: the package, too, gets the first one back.
                monkeypatch.setattr(
                    controller.data.fetch, name.removeprefix(OURS), sys.modules[name]
                )
            if name.startswith((OURS, f"{package}.")):
                monkeypatch.delitem(sys.modules, name)
        # Python's own way of saying that there is none.
        monkeypatch.setitem(sys.modules, package, None)

    return hide


@pytest.mark.parametrize(
    ("source", "package", "extra"),
    [
        ({"sql": "SELECT 1", "connection": "URL"}, "sqlalchemy", "sql"),
        ({"sql": "SELECT 1", "connection": "URL"}, "psycopg", "sql"),
        ({"hub": "owner/name"}, "datasets", "hub"),
        ({"url": "https://example.com/a.csv"}, "httpx2", "data"),
        ({"url": "https://example.com/a.csv"}, "fsspec", "data"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(tmp_path, without, source, package, extra):
    without(package)
    with pytest.raises(SourceUnavailable) as caught:
        fetch(
            FetchRequest(
                source=Source(**source),
                root=tmp_path,
                snapshots=tmp_path / "snapshots",
                environment={"URL": "postgresql://127.0.0.1:1/faq"},
            )
        )
    assert caught.value.message.endswith(f"needs the package {package}")
    assert caught.value.remedy == install_command(extra)
    assert not (tmp_path / "snapshots").exists() or not any((tmp_path / "snapshots").iterdir())


def test_a_saved_dataset_needs_pyarrow(tmp_path: Path, without):
    without("pyarrow")
    with pytest.raises(SourceUnavailable) as caught:
        fetch_saved(tmp_path, "data/saved", None, tmp_path / "snapshots")
    assert caught.value.remedy == install_command("data")
