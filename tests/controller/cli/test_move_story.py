"""A hosted fine-tune moved to this machine, judged by its recorded answers, with a real training."""

import json
import re

import pytest

from controller.errors import ExitCode
from tests.backends.openai.servers.fault_server import KEY, Server
from tests.tiny_base import make_base

pytestmark = [pytest.mark.torch, pytest.mark.slow]

HOSTED = "gpt-4o-mini-2024-07-18"
ROWS = 200
SPEC = f"""\
# 카페 문의를 상담 부서로 보낸다
backend: openai        # 서비스
base_model: {HOSTED}
data:
  train: [{{path: data/train.jsonl}}]
  held_out: [{{path: data/held-out.jsonl}}]
hyperparameters:
  n_epochs: 4          # 네 번
  batch_size: 16
  learning_rate_multiplier: 100
evaluation:
  metrics: [accuracy]
  max_tokens: 8
"""


def rows(name, count):
    lines = [
        {
            "messages": [
                {"role": "user", "content": f"{name} 문의 {number}"},
                {"role": "assistant", "content": "상담"},
            ]
        }
        for number in range(count)
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def hosted(shell, base, monkeypatch, warm):
    """A fine-tune in production at a service, every answer of which is recorded."""
    del warm
    service = Server()
    service.finishes = True
    service.answer = lambda body: "상담" if body["model"].startswith("ft:") else "몰라요"
    service.models[HOSTED] = {"id": HOSTED, "object": "model", "created": 1}
    monkeypatch.setenv("OPENAI_BASE_URL", service.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (shell.root / "models" / "small").symlink_to(base)
    shell.write("finetunes/data/train.jsonl", rows("처음", 96))
    shell.write("finetunes/data/held-out.jsonl", rows("다른", ROWS))
    shell.write("finetunes/cafe.yaml", SPEC)
    assert shell("apply", "--auto-approve")[0] == 0
    yield service
    service.close()


def move(shell):
    code, text = shell("move", "cafe", "--to", "local-gpu", "--base_model", "../models/small")
    assert code == 0, text


def chats(service):
    return [path for _, path, _, _ in service.requests if path == "/chat/completions"]


def test_a_move_is_judged_by_recorded_answers_alone(shell, hosted, golden):
    old = shell("model", "cafe")[1].strip()
    move(shell)
    spec = shell.root / "finetunes" / "cafe.yaml"
    # The service is off: nothing of it answers any more.
    hosted.models.clear()
    asked = len(chats(hosted))
    plan = shell("plan")[1].replace(old, "OLD").replace(hosted.url, "URL")
    plan = re.sub(r"needs [0-9.]+ of [0-9.]+ GB,", "needs … of … GB,", plan)
    golden("move/plan-of-a-move.txt", re.sub(r"[0-9a-f]{12,}", "…", plan))

    code, text = shell("apply", "--auto-approve")
    assert code == ExitCode.GATE_FAILED
    assert "worse: accuracy is 0 (production.accuracy is 1)" in text
    assert shell("model", "cafe")[1].strip() == old

    better = spec.read_text("utf-8").replace("num_train_epochs: 4", "num_train_epochs: 10")
    rate = "  learning_rate: 0.003\n  finetuning_type: full\n"
    spec.write_text(better.replace("  learning_rate: 0.02\n", rate), "utf-8")
    code, text = shell("apply", "--auto-approve")
    assert code == 0, text
    assert "accuracy 1: gate passed" in text
    assert shell("model", "cafe")[1].strip() != old
    assert "No changes" in shell("plan")[1]
    assert len(chats(hosted)) == asked, "the service was asked for nothing"
    # The name that callers send stands for the new model.
    assert shell("model", old)[1] == shell("model", "cafe")[1]


def test_examples_longer_than_the_new_base_reads_are_refused(shell, hosted):
    del hosted
    shell.write("finetunes/data/train.jsonl", rows("처음", 95) + rows("문의 " * 200, 1))
    before = (shell.root / "finetunes/cafe.yaml").read_bytes()
    code, text = shell("move", "cafe", "--to", "local-gpu", "--base_model", "../models/small")
    assert code == 1
    assert "tokens, and the base model reads at most 128" in text
    assert "finetunes/data/train.jsonl:96: " in text
    assert (shell.root / "finetunes/cafe.yaml").read_bytes() == before
