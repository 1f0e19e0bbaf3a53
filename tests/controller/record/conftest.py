"""A hosted service on loopback with a fine-tune in production, and the repository that declares it."""

import json
import sys
from pathlib import Path

import pytest

from backends.openai.examples.tokens import answer_counter, counter

sys.path.insert(0, str(Path(__file__).parents[2] / "backends/openai"))

from fault_server import KEY, Server

from tests.controller.cli.conftest import Shell

BASE = "gpt-4o-mini-2024-07-18"
LABELS = ("환불", "배송", "교환")
SPEC = """\
backend: openai
endpoint: {endpoint}
base_model: {base}
data:
  train:
    - path: data/{rows}.jsonl
{held_out}  prepare: {{pii: {pii}}}
evaluation:
  metrics: [{metrics}]
  max_tokens: 16
  compare_to: [{compare_to}]
gate: [{gate}]
"""
SETTINGS = """\
endpoints:
  hosted:
    kind: openai
    base_url: {hosted}
    api_key_env: HOSTED_KEY
    answer_prices: {{{base}: {{input: 0.3, output: 1.2}}}}
  home:
    kind: compatible
    base_url: {home}
    api_key_env: HOME_KEY
"""
FRACTION = "  held_out: {fraction: 0.25}\n"


def rows(count, *, salt=""):
    """Return labelled rows in Korean."""
    return "".join(
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": f"{salt}문의 {number}: 어떻게 하나요?"},
                    {"role": "assistant", "content": LABELS[number % len(LABELS)]},
                ]
            },
            ensure_ascii=False,
        )
        + "\n"
        for number in range(count)
    )


def label_of(body):
    """Answer as the model: the right label, but for each tenth question."""
    number = int("".join(c for c in body["messages"][-1]["content"] if c.isdigit()) or 0)
    return LABELS[(number + (number % 10 == 9)) % len(LABELS)]


_count, _count_answer = counter(BASE), answer_counter(BASE)


def billed(body, text):
    """Return the tokens that a service counts."""
    asked = _count({"messages": body["messages"]})
    return asked, _count_answer({"role": "assistant", "content": text})


class Hosted:
    """The repository, and the servers that it names."""

    def __init__(self, shell, hosted, home):
        self.shell, self.hosted, self.home = shell, hosted, home
        settings = SETTINGS.format(hosted=hosted.url, home=home.url, base=BASE)
        shell.write("ftctl.yaml", settings)

    def declare(self, name="triage", count=40, **changes):
        given = {
            "endpoint": "hosted",
            "base": BASE,
            "rows": name,
            "held_out": FRACTION,
            "pii": "off",
            "metrics": "accuracy",
            "compare_to": "base, production",
            "gate": '"accuracy >= 0.5"',
        }
        path = self.shell.root / f"finetunes/data/{name}.jsonl"
        if not path.exists():
            self.shell.write(f"finetunes/data/{name}.jsonl", rows(count))
        self.shell.write(f"finetunes/{name}.yaml", SPEC.format(**(given | changes)))

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


def _server():
    server = Server()
    server.models[BASE] = {"id": BASE, "object": "model", "created": 1, "owned_by": "openai"}
    server.finishes, server.answer, server.usage = True, label_of, billed
    server.gives_logprobs, server.stored = True, {}
    return server


@pytest.fixture
def home():
    server = _server()
    yield server
    server.close()


@pytest.fixture
def hosted(shell, home):
    server = _server()
    yield Hosted(shell, server, home)
    server.close()
