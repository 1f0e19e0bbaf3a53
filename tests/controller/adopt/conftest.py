"""A hosted service with fine-tunes of somebody else, and a repository that is to adopt them."""

import pytest

from tests.backends.openai.servers.fault_server import KEY
from tests.controller.adopt.hosted_service import Service
from tests.controller.cli.conftest import Shell


@pytest.fixture
def service():
    started = Service()
    yield started
    started.close()


@pytest.fixture
def shell(tmp_path, capsys, monkeypatch, service):
    for name in ("FTCTL_STATE_DIR", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", service.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    root = tmp_path / "repository"
    (root / "finetunes").mkdir(parents=True)
    return Shell(root=root, capsys=capsys)
