"""A hosted service on this machine with fine-tunes that somebody else made, and a repository."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "backends" / "openai"))

from fault_server import KEY, Server

from tests.controller.cli.conftest import Shell

BASE = "gpt-4o-mini-2024-07-18"
SETTINGS = {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.8}


def rows(count=40, start=0):
    """Return chat JSONL as people upload it, Korean included."""
    return "".join(
        json.dumps(
            {
                "messages": [
                    {"role": "system", "content": "문의를 분류하세요."},
                    {"role": "user", "content": f"{number}번 테이블 예약되나요?"},
                    {"role": "assistant", "content": ["예약", "메뉴", "영업시간"][number % 3]},
                ]
            },
            ensure_ascii=False,
        )
        + "\n"
        for number in range(start, start + count)
    ).encode()


class Service(Server):
    """A server that others have trained at."""

    def train(self, suffix="triage", data=None, validation=None, state="succeeded", **changes):
        """Add a job as somebody else made it, and return it."""
        files = {}
        for key, content in (("training_file", data or rows()), ("validation_file", validation)):
            if content is not None:
                name = f"{suffix or 'x'}-{key}.jsonl"
                files[key] = self.add_file(name, len(content), "fine-tune", content)["id"]
        _, job = self.create_job(None, {"model": BASE, "suffix": suffix, **files})
        job = self.jobs[job["id"]]
        job |= {
            "status": state,
            "seed": 7,
            "hyperparameters": SETTINGS,
            "created_at": 1_772_000_000,
        }
        if state == "succeeded":
            self.finish(job["id"])
        job |= changes
        return job

    def forget_file(self, file_id):
        del self.files[file_id], self.contents[file_id]

    def get_content(self, query, body, file_id):
        """Answer as the service does for a file that is gone."""
        if file_id not in self.contents:
            return self.get_file(query, body, file_id)
        return super().get_content(query, body, file_id)

    @property
    def downloads(self):
        return [path for _, path, *_ in self.requests if path.endswith("/content")]

    @property
    def changes(self):
        """Requests that could cost something."""
        return [(method, path) for method, path, *_ in self.requests if method != "GET"]


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
