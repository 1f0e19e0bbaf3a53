"""Base models that a hub on loopback has and this machine does not: planned, and downloaded."""

import json
import shutil
from pathlib import Path

import pytest

from controller.cli import run
from tests.servers.models_hub import FIRST, SECOND, ModelsHub, serving
from tests.tiny_base import make_base

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b'{"added_tokens": [{"id": 0, "content": "<|end|>", "special": true}]}',
    "chat_template.jinja": (
        b"{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>\n{% endfor %}"
        b"{% if add_generation_prompt %}assistant: {% endif %}"
    ),
    "model.safetensors": b"\0" * 2_500_000,
}


@pytest.fixture
def hub(shell, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving(ModelsHub(files={"acme/tiny": FILES})) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        shell.declare(backend="local-gpu", base="acme/tiny")
        yield found


def test_a_plan_says_what_will_be_downloaded(shell, hub, golden):
    code, told = shell("plan")
    assert code == 0, told
    golden("plan/download.txt", told)
    _, plan = shell.json("plan")
    (action,) = plan["actions"]
    assert action["download_bytes"] == 2_500_000
    assert not any(one.endswith("model.safetensors") for one in hub.downloads())


def test_the_identity_is_known_before_the_download(shell, hub):
    first = shell.json("plan")[1]["actions"][0]["fingerprint"]
    hub.main = SECOND
    assert shell.json("plan")[1]["actions"][0]["fingerprint"] == first, "resolved once"
    shell.declare("pinned", f"revision: {'a' * 40}\n", backend="local-gpu", base="acme/tiny")
    plan = {one["name"]: one["fingerprint"] for one in shell.json("plan")[1]["actions"]}
    assert plan["faq"] == first != plan["pinned"]
    _, offline = shell.json("plan", "--offline")
    assert {one["name"]: one["fingerprint"] for one in offline["actions"]} == plan


def test_an_offline_plan_says_known_at_apply(shell, hub, golden):
    code, told = shell("plan", "--offline")
    assert code == 0
    golden("plan/download-offline.txt", told)
    assert hub.asked == []


def test_a_plan_without_network_says_known_at_apply(shell, hub, monkeypatch):
    assert hub.url
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    code, told = shell("plan")
    assert code == 0
    assert "known at apply: base_model: the hub does not answer about acme/tiny" in told
    assert shell("apply", "-y")[0] == 1


@pytest.mark.usefixtures("hub")
def test_a_machine_that_stays_offline_needs_the_download(shell, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, told = shell("plan")
    assert code == 1
    assert "faq.yaml:2: base_model: acme/tiny (main) is not on this machine" in told
    assert "hf download acme/tiny" in told


def test_a_gated_model_is_told_with_its_line(shell, hub, golden):
    hub.gated = {"acme/tiny"}
    code, told = shell("plan")
    assert code == 1
    golden("plan/gated.txt", told)


def test_a_failed_download_submits_nothing_and_the_next_run_continues(shell, hub):
    assert shell("plan")[0] == 0
    hub.damaged = {"model.safetensors"}
    code, told = shell("apply", "-y", "--no-wait")
    assert code == 1
    assert "model.safetensors of acme/tiny was damaged on its way" in told
    assert not (shell.root / ".ftctl" / "runs").exists()


@pytest.mark.torch
@pytest.mark.slow
def test_the_first_spec_of_a_new_repository_works_as_it_is(shell, hub, tmp_path: Path):
    base = make_base(tmp_path / "base", max_position_embeddings=512)
    hub.files = {"Qwen/Qwen3-0.6B": {file.name: file.read_bytes() for file in base.iterdir()}}
    shutil.rmtree(shell.root / "finetunes")
    assert run(["init", str(shell.root)]) == 0
    code, told = shell("apply", "-y")
    assert code == 0, told
    assert "base model = will be downloaded, 365 kB" in told
    assert "» opening-hours: base model 100 % of 365 kB downloaded" in told
    lock = json.loads((shell.root / "finetunes" / "ftctl.lock").read_text())
    (build,) = lock["finetunes"]["opening-hours"]["builds"].values()
    assert build["revision"] == FIRST
    assert shell("plan", "--detailed-exitcode")[0] == 0
