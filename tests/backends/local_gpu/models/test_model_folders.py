"""What is written beside trained weights, and what is read of stored ones."""

import json
import struct
from importlib import import_module
from types import SimpleNamespace

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel, TrainRequest
from backends.local_gpu.models.model_files import weights_digest

pytestmark = pytest.mark.torch
FACTS = {
    "steps": 9,
    "epochs": 3,
    "trained_tokens": 1234,
    "train_loss": 2.5,
    "held_out_loss_before": 3.0,
    "held_out_loss": None,
}


@pytest.fixture
def folders():
    return import_module("backends.local_gpu.models.model_folders")


@pytest.fixture
def torch():
    return import_module("torch")


def stored(folder, **dtypes):
    """Write the header of a weight file: each tensor's dtype and numbers."""
    tensors = {
        name: {"dtype": dtype, "shape": [count], "data_offsets": [0, 0]}
        for name, (dtype, count) in dtypes.items()
    }
    header = json.dumps(tensors).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)


@pytest.mark.parametrize(
    ("dtypes", "usual", "found"),
    [
        ({"a": ("F32", 2)}, "float32", {"a": "float32"}),
        (
            {"a": ("BF16", 100), "b": ("F32", 2), "c": ("BF16", 1)},
            "bfloat16",
            {"a": "bfloat16", "b": "float32", "c": "bfloat16"},
        ),
        # The numbers count, not the tensors.
        ({"a": ("F16", 3), "b": ("F32", 1), "c": ("F32", 1)}, "float16", {"a": "float16"}),
        # Nothing can be trained in eight bits.
        ({"a": ("F8_E4M3", 5), "b": ("I8", 5)}, "float32", {"a": "float32", "b": "float32"}),
    ],
)
def test_the_precision_of_stored_weights(folders, torch, tmp_path, dtypes, usual, found):
    stored(tmp_path, **dtypes)
    most, each = folders.stored_dtypes(tmp_path)
    assert most == getattr(torch, usual)
    assert {name: each[name] for name in found} == {
        name: getattr(torch, dtype) for name, dtype in found.items()
    }


@pytest.mark.parametrize(
    ("wanted", "where", "dtype"),
    [
        ("auto", "cpu", "float32"),
        ("float32", "cpu", "float32"),
        ("bfloat16", "cpu", "bfloat16"),
        ("float32", "cuda", "float32"),
    ],
)
def test_the_precision_of_the_work(folders, torch, wanted, where, dtype):
    assert folders.precision(wanted, torch.device(where)) == getattr(torch, dtype)


def test_a_gpu_that_torch_cannot_use_is_said(folders, torch, monkeypatch):
    monkeypatch.setenv("FTCTL_DEVICE", "cpu")
    assert folders.device().type == "cpu"
    monkeypatch.delenv("FTCTL_DEVICE")
    assert folders.device().type == "cpu"
    if not torch.cuda.is_available():
        monkeypatch.setenv("FTCTL_DEVICE", "0")
        with pytest.raises(BackendError, match="the installed torch cannot use it"):
            folders.device()


def test_the_digest_of_weights_follows_names_and_bytes(tmp_path):
    first = tmp_path / "a.safetensors"
    first.write_bytes(b"one")
    before = weights_digest(tmp_path)
    (tmp_path / "README.md").write_text("words change nothing")
    assert weights_digest(tmp_path) == before
    first.write_bytes(b"two")
    changed = weights_digest(tmp_path)
    first.rename(tmp_path / "b.safetensors")
    assert len({before, changed, weights_digest(tmp_path)}) == 3
    assert before.startswith("sha256:")


@pytest.mark.parametrize(("adapter", "library"), [(True, "peft"), (False, "transformers")])
def test_a_model_card_names_what_the_model_was_made_from(folders, tmp_path, adapter, library):
    request = TrainRequest(
        name="cafe",
        fingerprint="ft1:abc",
        attempt=2,
        base_model=BaseModel(reference="Qwen/Qwen3-0.6B", revision="r", identity="hub:Qwen@r"),
        method="supervised",
        hyperparameters={},
        seed=7,
        train=tmp_path,
        held_out=tmp_path,
        train_origins=tmp_path,
    )
    card = folders.model_card(request, FACTS, adapter=adapter)
    assert card.startswith(f"---\nbase_model: Qwen/Qwen3-0.6B\nlibrary_name: {library}\n")
    for row in (
        "| fingerprint | `ft1:abc` |",
        "| attempt | 2 |",
        "| base model | `hub:Qwen@r` |",
        "| seed | 7 |",
        "| steps | 9 |",
        "| train loss | 2.5 |",
        "| held out loss | None |",
    ):
        assert row in card


def test_a_folder_gets_the_tokenizer_and_the_template_that_was_trained(folders, tmp_path):
    base, target = tmp_path / "base", tmp_path / "target"
    base.mkdir()
    target.mkdir()
    (base / "tokenizer.json").write_text("{}")
    (base / "LICENSE").write_text("free")
    (base / "chat_template.jinja").write_text("own")
    (base / "generation_config.json").write_text('{"eos_token_id": 1, "temperature": 0.5}')
    (base / "README.md").write_text("of the base")
    chat = SimpleNamespace(template=SimpleNamespace(source="trained"), stops=frozenset({9, 2}))
    folders.complete_folder(target, chat, base, {"README.md": "카드"})
    files = {path.name: path.read_text() for path in target.iterdir()}
    assert files.keys() == {
        *("tokenizer.json", "LICENSE", "chat_template.jinja", "generation_config.json"),
        "README.md",
    }
    assert (files["chat_template.jinja"], files["README.md"]) == ("trained", "카드")
    # Servers stop at the trained end of turn.
    expected = {"eos_token_id": [2, 9], "temperature": 0.5}
    assert json.loads(files["generation_config.json"]) == expected


def test_a_model_of_texts_keeps_the_template_of_its_base(folders, tmp_path):
    base, target = tmp_path / "base", tmp_path / "target"
    base.mkdir()
    target.mkdir()
    (base / "chat_template.jinja").write_text("own")
    folders.complete_folder(target, None, base, {})
    assert (target / "chat_template.jinja").read_text() == "own"
    assert json.loads((target / "generation_config.json").read_text()) == {}


@pytest.mark.parametrize("config", ["{}", '{"model_type": "unknown"}', '{"model_type": "bert"}'])
def test_what_is_not_a_language_model_cannot_be_opened(folders, torch, tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(BackendError, match="cannot be opened") as caught:
        folders.load_model(tmp_path, torch.float32, torch.device("cpu"))
    assert "causal language model" in caught.value.remedy


@pytest.mark.parametrize(
    ("here", "whole", "name", "elsewhere"),
    [
        ("model", "model.language_model", "model.layers.0.q", "model.language_model.layers.0.q"),
        ("model", "model.language_model", "model", "model.language_model"),
        ("model", "model.language_model", "lm_head", "lm_head"),
        ("model", "model.language_model", "models.0", "models.0"),
        ("model", "model", "model.layers.0.q", "model.layers.0.q"),
    ],
)
def test_layers_have_the_names_of_the_whole_model_and_back(here, whole, name, elsewhere):
    part = import_module("backends.local_gpu.models.language_part").Part(here=here, whole=whole)
    assert part.elsewhere(name) == elsewhere
    assert part.back(elsewhere) == name
    # The name within the loaded model is understood as well.
    assert part.back(name) == name
