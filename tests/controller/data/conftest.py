"""A repository in a temporary folder, and the door of the data package."""

import json
from hashlib import sha256
from pathlib import Path

import pydantic
import pytest

from controller.canonical import canonical_json
from controller.cli import run
from controller.data.dataset import Dataset, Split, build_dataset
from controller.data.resolve_sources import DataPaths
from controller.errors import InvalidInput, Problem
from controller.spec.data import Data
from tests.openai_api.description import errors, named

ANSWER = named("FineTuneChatCompletionRequestAssistantMessage")
ORDER = ("columns", "inspector", "method", "recipe")
"""Arguments of a build that are not settings of `data`."""


class Repository:
    """Files under `finetunes/`, and datasets built from them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "finetunes"
        self.cache = root / ".ftctl" / "data"
        self.folder.mkdir()

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def build(self, *train: dict | str, held_out=None, **settings) -> Dataset:
        order = {key: settings.pop(key) for key in ORDER if key in settings}
        data = Data.model_validate(
            {
                "train": [{"path": one} if isinstance(one, str) else one for one in train],
                "held_out": held_out or {"fraction": 0.25},
                **settings,
            }
        )
        return build_dataset(
            data,
            file="finetunes/cafe.yaml",
            folder=self.folder,
            paths=DataPaths(root=self.root, cache=self.cache),
            **order,
        )

    def problems(self, *train: dict | str, **settings) -> tuple[Problem, ...]:
        with pytest.raises(InvalidInput) as caught:
            self.build(*train, **settings)
        return caught.value.problems


class Parts:
    """Halves of datasets, as a build leaves them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0

    def __call__(self, *examples: dict) -> Split:
        self._made += 1
        path = self._folder / f"{self._made}.jsonl"
        origins = path.with_suffix(".origins")
        data = b"".join(canonical_json(one) + b"\n" for one in examples)
        path.write_bytes(data)
        origins.write_text("".join(f"a.csv:{n}\n" for n in range(2, len(examples) + 2)))
        digest = f"sha256:{sha256(data).hexdigest()}"
        return Split(path=path, origins=origins, digest=digest, examples=len(examples), tokens=None)

    @staticmethod
    def chat(question: str, answer: str, *, system: str | None = None, **more) -> dict:
        messages = [{"role": "system", "content": system}] if system else []
        messages += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
        return {"messages": messages, **more}


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    folder = tmp_path / "parts"
    folder.mkdir()
    return Parts(folder)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    root = tmp_path / "repository"
    root.mkdir()
    return Repository(root)


@pytest.fixture
def pairs() -> list[tuple[str, str]]:
    return [(f"질문 {number}, 어때요?", f"답은 {number}입니다.") for number in range(40)]


@pytest.fixture
def chat_lines(pairs: list[tuple[str, str]]) -> str:
    return "".join(
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": answer},
                ]
            },
            ensure_ascii=False,
        )
        + "\n"
        for question, answer in pairs
    )


class Typed:
    """Types commands into a repository with one data file."""

    def __init__(self, root, capsys):
        self.root = root
        self._capsys = capsys

    def use(self, path, spec):
        (self.root / "finetunes" / "data").mkdir(parents=True)
        (self.root / "finetunes" / "data" / path.name).write_bytes(path.read_bytes())
        (self.root / "finetunes" / "real.yaml").write_text(spec.replace("FILE", path.name))
        assert len(spec.split("data:\n")[1].split("\nhyper")[0].splitlines()) <= 6

    def __call__(self, *arguments):
        code = run(["--dir", str(self.root), *arguments])
        out, err = self._capsys.readouterr()
        assert code == 0, out + err
        return out

    def json(self, *arguments):
        return json.loads(self(*arguments, "--json"))

    def examples(self, built):
        """Return all lines of both halves, from where the build says its reasons are."""
        folder = Path(built["reasons"]).parent
        texts = [(folder / f"{part}.jsonl").read_text() for part in ("train", "held_out")]
        return [json.loads(line) for text in texts for line in text.rstrip("\n").split("\n")]


@pytest.fixture
def typed(tmp_path, capsys, monkeypatch):
    for name in ("FTCTL_STATE_DIR", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return Typed(tmp_path, capsys)


class Official:
    """What the official SDK's types and the official description say of a message."""

    def __init__(self):
        chat = pytest.importorskip("openai.types.chat")
        self._message = pydantic.TypeAdapter(chat.ChatCompletionMessageParam)
        self._tool = pydantic.TypeAdapter(chat.ChatCompletionFunctionToolParam)

    def check(self, messages, tools=()):
        for message in messages:
            read = self._message.validate_python(message)
            assert read["role"] == message["role"]
            # The SDK's types read calls one by one, when somebody asks for them.
            assert len(list(read.get("tool_calls", ()))) == len(message.get("tool_calls", ()))
            if message["role"] == "assistant":
                assert errors(message, ANSWER) == []
        for tool in tools:
            assert self._tool.validate_python(tool)["function"]["name"]


@pytest.fixture
def official() -> Official:
    return Official()
