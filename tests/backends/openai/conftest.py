"""A fault server, backends that talk to it, and requests to train."""

import json
import sys
from pathlib import Path

import pytest

from backends.base import BaseModel, Endpoint, TrainRequest
from backends.openai.backend import OpenAIBackend
from backends.openai.completions import Pace
from backends.openai.submit import Patience

sys.path.insert(0, str(Path(__file__).parent))

from fault_server import KEY, Server

MODEL = "gpt-4o-mini-2024-07-18"
QUICK = Patience(window_s=0.4, pause_s=0.02, lag_s=0.0, slow_down_s=2.0)
QUICK_PACE = Pace(pause_s=0.01, patience_s=0.5, at_once=4)


@pytest.fixture
def server():
    started = Server()
    yield started
    started.close()


@pytest.fixture
def open_backend(server, tmp_path):
    """Return a function that opens a backend; each one has a state folder of its own."""
    opened = []

    def make(state=None, *, url=None, key=KEY, patience=QUICK, **settings):
        folder = state or tmp_path / f"state-{len(opened)}"
        endpoint = Endpoint(name="test", base_url=url or server.url, **settings)
        environment = {"OPENAI_API_KEY": key} if key else {}
        backend = OpenAIBackend(
            folder, endpoint, environment=environment, patience=patience, pace=QUICK_PACE
        )
        opened.append(backend)
        return backend

    return make


@pytest.fixture
def backend(open_backend):
    return open_backend()


@pytest.fixture
def make_request(tmp_path):
    return lambda **changes: write_request(tmp_path / "data", **changes)


def write_request(folder, *, examples=12, **changes):
    """Write a dataset and return the request to train on it."""
    folder.mkdir(exist_ok=True)
    paths = {name: folder / name for name in ("train.jsonl", "held_out.jsonl", "train.origins")}
    line = json.dumps(
        {"messages": [{"role": "user", "content": "질문"}, {"role": "assistant", "content": "답"}]},
        ensure_ascii=False,
    )
    paths["train.jsonl"].write_text(f"{line}\n" * examples, "utf-8")
    paths["held_out.jsonl"].write_text(f"{line}\n" * 2, "utf-8")
    origins = "".join(f"data/cafe.csv:{n}\n" for n in range(2, examples + 2))
    paths["train.origins"].write_text(origins)
    fields = {
        "name": "cafe-consultant",
        "fingerprint": "ft1:" + "ab" * 32,
        "attempt": 1,
        "base_model": BaseModel(reference=MODEL, revision=None, identity=f"model:{MODEL}"),
        "method": "supervised",
        "hyperparameters": {
            "n_epochs": 3,
            "batch_size": "auto",
            "learning_rate_multiplier": "auto",
        },
        "seed": 42,
        "train": paths["train.jsonl"],
        "held_out": paths["held_out.jsonl"],
        "train_origins": paths["train.origins"],
    }
    return TrainRequest(**(fields | changes))
