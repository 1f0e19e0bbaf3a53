"""The command line in this process, and repositories for it."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from backends.testing import ScriptedBackend
from controller.cli import run

GOOD = """\
backend: {backend}
base_model: {base_model}
data:
  train:
    - path: data/faq.csv
      columns: {{user: question, assistant: answer}}
  held_out: {{fraction: 0.25}}
"""
ROWS = "question,answer\n" + "".join(f"q{n}?,a{n}.\n" for n in range(24))


@dataclass
class Shell:
    """Types commands into a repository."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> tuple[int, str]:
        """Return exit code and output; standard error comes last."""
        code = run(["--dir", str(self.root), *arguments])
        out, err = self.capsys.readouterr()
        return code, (out + err).replace(str(self.root), "/repository")

    def json(self, *arguments: str):
        code, out = self(*arguments, "--json")
        return code, json.loads(out)

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def declare(self, name: str = "faq", more: str = "", *, backend="scripted", base="acme/base"):
        text = GOOD.format(backend=backend, base_model=base) + more
        self.write(f"finetunes/{name}.yaml", text)

    @property
    def backend(self) -> ScriptedBackend:
        return ScriptedBackend(self.root / ".ftctl")


@pytest.fixture
def shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    for name in ("FTCTL_STATE_DIR", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    root = tmp_path / "repository"
    root.mkdir()
    made = Shell(root=root, capsys=capsys)
    made.write("finetunes/data/faq.csv", ROWS)
    # As much of a model as planning looks at.
    for name, content in {
        "config.json": "{}",
        "tokenizer.json": '{"added_tokens": [{"id": 0, "content": "<|end|>", "special": true}]}',
        "chat_template.jinja": (
            "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>\n{% endfor %}"
            "{% if add_generation_prompt %}assistant: {% endif %}"
        ),
        "model.safetensors": "\0" * 16,
    }.items():
        made.write(f"models/tiny/{name}", content)
    return made
