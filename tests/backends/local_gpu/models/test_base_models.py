import json
import os
import subprocess
import sys
from importlib.util import find_spec, module_from_spec

import pytest

from backends.contract.errors import BaseModelMissing
from backends.contract.jobs import BaseModel
from backends.local_gpu.models.base_models import (
    hub_folder,
    is_hub_id,
    is_offline,
    local_folder,
    longest_context,
    require_obtainable,
    resolve_base_model,
    tokenizer_folder,
    verify_unchanged,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "specs" / "base"
    made.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (made / name).write_text("{}")
    (made / "model.safetensors").write_bytes(b"\1" * (2 << 20))
    return made


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub cache with one model whose `main` and `v1` are known."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    model = tmp_path / "hf" / "hub" / "models--Qwen--Qwen3-0.6B"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT + "\n")
    (model / "refs" / "v1").write_text("f" * 40)
    snapshot = model / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    return snapshot


def test_a_folder_is_known_by_its_contents_not_by_its_place(tmp_path, folder):
    state = tmp_path / "state"
    found = resolve_base_model("./base", None, folder.parent, state)
    assert found.reference == str(folder)
    assert found.revision is None
    moved = folder.rename(tmp_path / "moved")
    assert resolve_base_model("../moved", None, folder.parent, state).identity == found.identity
    (moved / "README.md").write_text("words change nothing")
    assert resolve_base_model(str(moved), None, folder.parent, state).identity == found.identity
    (moved / "chat_template.jinja").write_text("but a template does")
    assert resolve_base_model("../moved", None, folder.parent, state).identity != found.identity


def test_large_files_are_hashed_once_and_again_when_they_change(tmp_path, folder):
    state = tmp_path / "state"
    before = resolve_base_model("./base", None, folder.parent, state)
    memory = state / "digests.jsonl"
    assert len(memory.read_text().splitlines()) == 1
    assert resolve_base_model("./base", None, folder.parent, state) == before
    assert len(memory.read_text().splitlines()) == 1
    (folder / "model.safetensors").write_bytes(b"\2" * (2 << 20))
    after = resolve_base_model("./base", None, folder.parent, state)
    assert after.identity != before.identity
    verify_unchanged(after, state)
    with pytest.raises(BaseModelMissing, match="has changed since"):
        verify_unchanged(before, state)


@pytest.mark.parametrize(
    ("gone", "message", "remedy"),
    [
        ("config.json", "there is no model in", "python -m backends.local_gpu.models.small_base"),
        ("model.safetensors", r"has no \*\.safetensors", "Convert"),
        ("tokenizer.json", "has no tokenizer.json", "save_pretrained"),
    ],
)
def test_what_a_folder_lacks_is_named(tmp_path, folder, gone, message, remedy):
    (folder / gone).unlink()
    with pytest.raises(BaseModelMissing, match=message) as caught:
        resolve_base_model("./base", None, folder.parent, tmp_path)
    assert remedy in caught.value.remedy


def test_pickled_weights_are_no_weights(tmp_path, folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BaseModelMissing, match="can run code"):
        resolve_base_model("./base", None, folder.parent, tmp_path)


@pytest.mark.parametrize(
    ("revision", "commit"), [(None, COMMIT), ("main", COMMIT), ("v1", "f" * 40), ("a" * 40,) * 2]
)
def test_a_hub_model_is_known_by_its_commit(tmp_path, cache, revision, commit):
    assert cache.exists()
    found = resolve_base_model("Qwen/Qwen3-0.6B", revision, tmp_path, tmp_path)
    assert found == BaseModel(
        reference="Qwen/Qwen3-0.6B", revision=commit, identity=f"hub:Qwen/Qwen3-0.6B@{commit}"
    )


@pytest.mark.parametrize(
    ("name", "revision", "remedy"),
    [
        ("Qwen/Qwen3-8B", None, "hf download Qwen/Qwen3-8B\n"),
        ("Qwen/Qwen3-0.6B", "v2", "hf download Qwen/Qwen3-0.6B --revision v2\n"),
        ("Qwen/Qwen3-0.6B", "../../../secret", "pin it"),
        ("not a model", None, "ORGANISATION/NAME"),
        ("a/b/c", None, "ORGANISATION/NAME"),
    ],
)
def test_a_hub_model_whose_commit_is_not_known_here(tmp_path, cache, name, revision, remedy):
    assert cache.exists()
    with pytest.raises(BaseModelMissing) as caught:
        resolve_base_model(name, revision, tmp_path, tmp_path)
    assert remedy in caught.value.remedy


def test_a_hub_model_is_here_only_when_all_its_weights_are(tmp_path, cache):
    found = resolve_base_model("Qwen/Qwen3-0.6B", None, tmp_path, tmp_path)
    with pytest.raises(BaseModelMissing, match="is not on this machine"):
        tokenizer_folder(found)
    (cache / "tokenizer.json").write_text("{}")
    assert tokenizer_folder(found) == cache
    assert local_folder(found) is None
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (cache / "model.safetensors.index.json").write_text(json.dumps(index))
    (cache / "one.safetensors").touch()
    assert local_folder(found) is None
    (cache / "two.safetensors").touch()
    assert local_folder(found) == cache


def test_the_parents_side_needs_none_of_the_training_packages():
    heavy = ("torch", "transformers", "peft", "accelerate", "tokenizers", "jinja2", "numpy")
    code = (
        "import sys, backends.local_gpu.backend, backends.local_gpu.jobs.device_queue\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
        timeout=110,
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_position_embeddings": 128}, 128),
        ({"text_config": {"max_position_embeddings": 64}, "max_position_embeddings": 9}, 64),
        ({"max_position_embeddings": "many"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_longest_text_of_a_model(folder, config, length):
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    base = BaseModel(reference=str(folder), revision=None, identity="sha256:1")
    assert longest_context(base) == length


@pytest.mark.parametrize(
    ("files", "complete"),
    [
        (["config.json", "model.safetensors"], True),
        (["config.json"], False),
        (["model.safetensors"], False),
        (["config.json", "model.safetensors.index.json", "a-1.safetensors"], False),
        (
            ["config.json", "model.safetensors.index.json", "a-1.safetensors", "a-2.safetensors"],
            True,
        ),
    ],
)
def test_a_hub_model_is_here_when_all_its_files_are(cache, files, complete):
    (cache / "config.json").unlink()
    index = {"weight_map": {"a": "a-1.safetensors", "b": "a-2.safetensors"}}
    for name in files:
        (cache / name).write_text(json.dumps(index) if "index" in name else "{}")
    base = BaseModel(reference="Qwen/Qwen3-0.6B", revision=COMMIT, identity="hub:x")
    assert local_folder(base) == (cache if complete else None)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("offline", ["1", "ON", "yes", "true"])
def test_a_hub_model_may_be_downloaded_unless_the_machine_is_offline(monkeypatch, offline):
    base = BaseModel(reference="Qwen/Qwen3-0.6B", revision=COMMIT, identity="hub:x")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    require_obtainable(base)
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    with pytest.raises(BaseModelMissing, match="is not on this machine") as caught:
        require_obtainable(base)
    assert f"--revision {COMMIT}" in caught.value.remedy


def test_a_folder_that_is_gone_cannot_be_downloaded(folder):
    base = BaseModel(reference=str(folder), revision=None, identity="sha256:1")
    require_obtainable(base)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    with pytest.raises(BaseModelMissing, match="is gone"):
        require_obtainable(base)


HUB = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@pytest.fixture
def client(monkeypatch):
    """Return a function that reads some environment as the hub's own client reads it."""
    spec = find_spec("huggingface_hub.constants")
    for name in (*HUB, *OFFLINE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/cafe")
    monkeypatch.setenv("SCRATCH", "/scratch/cafe")

    def read(environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        constants = module_from_spec(spec)
        spec.loader.exec_module(constants)
        return constants

    return read


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"HF_HOME": "/hf"},
        {"HF_HOME": "~/hf"},
        {"HF_HOME": "$SCRATCH/hf"},
        {"HF_HOME": "${SCRATCH}/hf", "XDG_CACHE_HOME": "/xdg"},
        {"XDG_CACHE_HOME": "/xdg"},
        {"HF_HOME": "/hf", "HF_HUB_CACHE": "$SCRATCH/cache"},
        {"HF_HUB_CACHE": "~/cache", "HUGGINGFACE_HUB_CACHE": "/older"},
        {"HUGGINGFACE_HUB_CACHE": "/older"},
        {"HF_HOME": "$UNKNOWN/hf"},
    ],
    ids=str,
)
def test_a_model_lies_where_the_hub_s_own_client_has_put_it(client, environment):
    folder = f"{client(environment).HF_HUB_CACHE}/models--Qwen--Qwen3-0.6B"
    assert str(hub_folder("Qwen/Qwen3-0.6B")) == folder


@pytest.mark.parametrize("second", [None, "", "0", "1", "TRUE"])
@pytest.mark.parametrize("first", [None, "", "0", "1", "yes", "ON", "True", "no", "2"])
def test_a_machine_is_offline_where_the_hub_s_own_client_is(client, first, second):
    named = zip(OFFLINE, (first, second), strict=True)
    environment = {name: value for name, value in named if value is not None}
    assert client(environment).HF_HUB_OFFLINE is is_offline()


@pytest.mark.parametrize(
    ("base_model", "is_hub"),
    [
        ("Qwen/Qwen3-0.6B", True),
        ("gpt2", True),
        ("./gpt2", False),
        ("../models/gpt2", False),
        ("/models/gpt2", False),
        ("a/b/c", False),
        ("Qwen/Qwen3 0.6B", False),
        ("https://huggingface.co/Qwen/Qwen3-0.6B", False),
        ("", False),
    ],
)
def test_a_base_model_is_a_folder_or_a_model_of_the_hub(base_model, is_hub):
    assert is_hub_id(base_model) is is_hub


@pytest.mark.parametrize(
    ("name", "decides"),
    [
        ("config.json", True),
        ("generation_config.json", True),
        ("tokenizer.json", True),
        ("tokenizer_config.json", True),
        ("special_tokens_map.json", True),
        ("added_tokens.json", True),
        ("chat_template.jinja", True),
        ("model.safetensors.index.json", True),
        ("model-00002.safetensors", True),
        ("README.md", False),
        ("LICENSE", False),
        ("optimizer.pt", False),
        ("onnx/model.safetensors", False),
    ],
)
def test_a_base_model_is_another_one_where_a_file_that_decides_is_another(
    tmp_path, folder, name, decides
):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text('{"a": 1}')
    before = resolve_base_model("./base", None, folder.parent, tmp_path).identity
    (folder / name).write_text('{"a": 2}')
    after = resolve_base_model("./base", None, folder.parent, tmp_path).identity
    assert (after != before) is decides
