"""Stores of every kind, empty."""

import secrets
from importlib import import_module

import pytest

from backends.stores.folder import FolderStore
from tests.servers.hub_server import Hub, hub_server
from tests.servers.s3_server import BUCKET, KEYS, faulty, s3_server


@pytest.fixture(scope="session")
def s3():
    pytest.importorskip("obstore")
    pytest.importorskip("moto")
    with s3_server() as address:
        yield address


@pytest.fixture
def use_s3(s3, monkeypatch):
    """Point clients at the server; return a URL below which there is nothing."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    return f"s3://{BUCKET}/{secrets.token_hex(8)}"


@pytest.fixture
def bucket(use_s3):
    return import_module("backends.stores.bucket").BucketStore(use_s3)


@pytest.fixture
def faulty_s3(s3, use_s3, monkeypatch):
    """A store behind a proxy, and what the proxy does wrong."""
    with faulty(s3) as (address, fault):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        yield import_module("backends.stores.bucket").BucketStore(use_s3), fault


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "shared"
    path.mkdir()
    return FolderStore(path)


@pytest.fixture
def hub(monkeypatch):
    module = pytest.importorskip("huggingface_hub") and import_module("backends.stores.hub")
    constants = import_module("huggingface_hub.constants")
    # The stand-in speaks LFS, not Xet.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    with hub_server(Hub()) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        store = module.open_hub("hf://acme/models", private=True)
        store.server = server
        yield store


@pytest.fixture(params=["folder", "bucket", "hub"])
def store(request):
    return request.getfixturevalue(request.param)
