"""A hosted service on loopback with a fine-tune in production, and the repository that declares it."""

import pytest

from tests.controller.cli.conftest import Shell
from tests.servers.hosted_service import KEY, declaration, hosted_server, rows, settings


class Hosted:
    """The repository, and the servers that it names."""

    def __init__(self, shell, hosted, home):
        self.shell, self.hosted, self.home = shell, hosted, home
        shell.write("ftctl.yaml", settings(hosted.url, home.url))

    def declare(self, name="triage", count=40, **changes):
        changes = {"rows_of": name} | changes
        path = self.shell.root / f"finetunes/data/{name}.jsonl"
        if not path.exists():
            self.shell.write(f"finetunes/data/{name}.jsonl", rows(count))
        self.shell.write(f"finetunes/{name}.yaml", declaration(**changes))

    def train(self, name="triage", **changes):
        """Declare a fine-tune and let it become production, evaluated or not."""
        self.declare(name, **changes)
        code, text = self.shell("apply", "--auto-approve", "--only", name)
        assert code == 0, text
        return text

    def chats(self, server=None):
        """Return the accepted questions in the order that they were asked."""
        return [
            body
            for method, path, _, body in (server or self.hosted).requests
            if (method, path) == ("POST", "/chat/completions")
        ]

    def forget_answers(self):
        for path in (self.shell.root / ".ftctl/answers").glob("*"):
            path.unlink()

    def files(self):
        return sorted((self.shell.root / "finetunes/recorded").glob("*"))


@pytest.fixture
def shell(tmp_path, capsys, monkeypatch):
    for name in ("FTCTL_STATE_DIR", "NO_COLOR", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOSTED_KEY", KEY)
    monkeypatch.setenv("HOME_KEY", KEY)
    root = tmp_path / "repository"
    (root / "finetunes").mkdir(parents=True)
    return Shell(root=root, capsys=capsys)


@pytest.fixture
def home():
    server = hosted_server()
    yield server
    server.close()


@pytest.fixture
def hosted(shell, home):
    server = hosted_server()
    yield Hosted(shell, server, home)
    server.close()
