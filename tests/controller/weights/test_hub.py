"""Uploads to a hub on the loopback address."""

from importlib import import_module

import pytest

from controller.errors import FtctlError
from tests.servers.hub_server import Hub, hub_server

pytest.importorskip("huggingface_hub")
# The client's own call of its HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch):
    module = import_module("controller.weights.hub")
    constants = import_module("huggingface_hub.constants")
    # The stand-in speaks LFS, not Xet.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    with hub_server(Hub()) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.push = module.push
        server.require = module.require_hub
        yield server


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "export"
    path.mkdir()
    (path / "README.md").write_text("---\nlibrary_name: peft\n---\n\n# cafe\n")
    (path / "model.safetensors").write_bytes(bytes(range(256)))
    return path


def test_an_export_is_uploaded_in_one_private_commit(hub, folder):
    url = hub.push(folder, "acme/cafe", "cafe: build 1", public=False)
    assert url == f"{hub.url}/acme/cafe"
    assert hub.private == {"acme/cafe": True}
    assert hub.commits == ["cafe: build 1"]
    assert hub.files["acme/cafe"] == {path.name: path.read_bytes() for path in folder.iterdir()}
    # A later export replaces all of it.
    (folder / "model.safetensors").rename(folder / "cafe.gguf")
    hub.push(folder, "acme/cafe", "cafe: build 2", public=False)
    assert hub.files["acme/cafe"].keys() == {"README.md", "cafe.gguf"}
    assert len(hub.commits) == 2


def test_a_public_repository_is_made_only_when_asked(hub, folder):
    hub.push(folder, "acme/cafe", "one", public=True)
    assert hub.private == {"acme/cafe": False}
    with pytest.raises(FtctlError, match="acme/cafe is public: everybody would see"):
        hub.push(folder, "acme/cafe", "two", public=False)
    assert hub.commits == ["one"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, r"does not let HF_TOKEN write to acme/cafe \(403\)"),
        (404, r"no organisation or repository acme/cafe for HF_TOKEN \(404\)"),
        (429, r"too many requests \(429\)"),
        (400, r"refuses the upload \(400\)"),
    ],
)
def test_what_a_hub_refuses_is_told(hub, folder, status, words):
    hub.status = status
    with pytest.raises(FtctlError, match=words) as caught:
        hub.push(folder, "acme/cafe", "one", public=False)
    assert f"is complete in {folder}" in caught.value.remedy
    assert "hf_right" not in str(caught.value)


def test_a_wrong_token_is_told(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(FtctlError, match=r"does not let HF_TOKEN write .* \(401\)"):
        hub.push(folder, "acme/cafe", "one", public=False)


def test_a_hub_that_is_away_is_told(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(FtctlError, match="the hub cannot be reached"):
        hub.push(folder, "acme/cafe", "one", public=False)


def test_id_and_token_are_required_first(hub, monkeypatch):
    hub.require("acme/cafe")
    with pytest.raises(FtctlError, match="'cafe' is not the ID of a repository"):
        hub.require("cafe")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(FtctlError, match="HF_TOKEN is not set"):
        hub.require("acme/cafe")


def test_blanks_around_a_token_are_not_sent(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", " hf_right\n")
    hub.require("acme/cafe")
    assert hub.push(folder, "acme/cafe", "one", public=False).endswith("acme/cafe")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n", "HF_TOKEN is not set"),
        ("hf_right hf_other", "HF_TOKEN is not a token"),
        ("hf_right\nhf_other", "HF_TOKEN is not a token"),
        ("hf_right한", "HF_TOKEN is not a token"),
    ],
)
def test_what_is_not_a_token_is_refused_before_the_export_and_not_shown(
    hub, monkeypatch, text, words
):
    monkeypatch.setenv("HF_TOKEN", text)
    with pytest.raises(FtctlError, match=words) as caught:
        hub.require("acme/cafe")
    assert "Set HF_TOKEN to a token" in caught.value.remedy
    assert "hf_right" not in str(caught.value)
