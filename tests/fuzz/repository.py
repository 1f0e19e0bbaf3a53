"""A repository for cases: real files, a scripted backend, no keys, only local addresses."""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from backends.contract.backend import Endpoint
from backends.contract.capabilities import Capabilities
from backends.contract.inspector import Json
from backends.testing import ScriptedBackend
from tests.fuzz.harness import Outcome, run_command

SPEC = "finetunes/faq.yaml"


class AnyMethod(ScriptedBackend):
    """The scripted backend, extended to claim every training method."""

    def capabilities(self) -> Capabilities:
        """Return capabilities with every training method."""
        methods = frozenset({"supervised", "dpo", "kto", "reinforcement", "continued-pretraining"})
        return replace(super().capabilities(), methods=methods)

    def parse_hyperparameters(self, _method: str, raw: Mapping[str, Json]) -> Mapping[str, Json]:
        """Complete the hyperparameters, which are the same for each method."""
        return super().parse_hyperparameters("supervised", raw)


def create(state: Path, _endpoint: Endpoint) -> AnyMethod:
    """Open the backend; its entry point calls this."""
    return AnyMethod(state)


class Repository:
    """A repository whose files are damaged one after another."""

    def __init__(self, root: Path) -> None:
        """Create the repository, with data and the base model files that planning reads."""
        self.root = root
        rows = [f"q{n}?,a{n % 3}.,{n % 6},approved,c{n}" for n in range(24)]
        table = "\n".join(["question,answer,score,status,customer", *rows])
        self.put("finetunes/data/faq.csv", table.encode())
        self.put("finetunes/data/chat.jsonl", "".join(map(_conversation, range(12))).encode())
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            self.put(f"models/tiny/{name}", b"{}")

    def put(self, name: str, content: bytes) -> None:
        """Write a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def run(self, *arguments: str) -> Outcome:
        """Run a command."""
        return run_command("--dir", str(self.root), *arguments)


def _conversation(number: int) -> str:
    asked = {"role": "user", "content": f"q{number}"}
    return json.dumps({"messages": [asked, {"role": "assistant", "content": "a"}]}) + "\n"


@contextlib.contextmanager
def repository() -> Iterator[Repository]:
    """Yield a repository, with the scripted backend installed as a plug-in."""
    known, path = dict(os.environ), list(sys.path)
    with tempfile.TemporaryDirectory() as folder:
        packages = Path(folder, "site-packages")
        info = packages / "ftctl_scripted-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: ftctl-scripted\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(
            "[ftctl.backends]\nscripted = tests.fuzz.repository:create\n"
        )
        for name in [name for name in os.environ if name.startswith(("FTCTL", "OPENAI", "HF_"))]:
            del os.environ[name]
        os.environ |= {
            "HF_HOME": f"{folder}/hub",
            "HF_HUB_OFFLINE": "1",
            "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        }
        sys.path.insert(0, str(packages))
        try:
            yield Repository(Path(folder, "repository"))
        finally:
            sys.path[:] = path
            os.environ.clear()
            os.environ.update(known)
