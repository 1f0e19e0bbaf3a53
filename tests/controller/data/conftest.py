"""A repository in a temporary folder, and the door of the data package."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from controller.canonical import canonical_json
from controller.data.dataset import Dataset, Split, build_dataset
from controller.data.resolve_sources import DataPaths
from controller.errors import InvalidInput, Problem
from controller.spec.data import Data


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
        order = {
            key: settings.pop(key) for key in ("inspector", "method", "recipe") if key in settings
        }
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
            places=DataPaths(root=self.root, cache=self.cache),
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
