"""What no adapter can be trained on is refused when a plan is made."""

import dataclasses
import json
import struct

import pytest

from backends.contract.errors import HyperparametersInvalid
from backends.contract.jobs import BaseModel
from backends.local_gpu.backend import LocalGpuBackend
from backends.local_gpu.models.adapter_layers import problems_of, read_layers

ATTENTION = {f"self_attn.{name}_proj": 2 for name in "qkvo"}
DENSE = {f"mlp.{name}_proj": 2 for name in ("gate", "up", "down")}
EXPERTS = {
    f"mlp.experts.{number}.{name}_proj": 2 for number in range(2) for name in ("gate", "up", "down")
}
NORM = {"input_layernorm": 1}


@pytest.fixture
def model(tmp_path):
    """Return a function that writes a model's files, without weights worth the name."""

    def write(layers, config=None, before="model.layers.0.", *, head=True):
        names = {f"{before}{name}": size for name, size in layers.items()}
        names |= {"model.embed_tokens": 2} | ({"lm_head": 2} if head else {})
        return files(names, config or {"model_type": "llama"})

    def files(names, config):
        header = {
            f"{name}.weight": {"dtype": "BF16", "shape": [1] * size, "data_offsets": [0, 2]}
            for name, size in names.items()
        }
        text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
        blob = struct.pack("<Q", len(text)) + text + b"\0\0"
        (tmp_path / "model.safetensors").write_bytes(blob)
        (tmp_path / "config.json").write_text(json.dumps(config))
        return tmp_path

    write.files = files
    return write


def told(folder, target_modules="all-linear", **settings):
    found = problems_of(read_layers(folder), {"target_modules": target_modules, **settings})
    return [(one.field, one.message, one.remedy) for one in found]


def test_names_that_the_model_has_are_fine(model):
    folder = model(ATTENTION | DENSE | NORM)
    every = ["q_proj", "down_proj", "lm_head", "self_attn.k_proj", "model.layers.0.mlp.up_proj"]
    assert told(folder, every, lora_dropout=0.1) == []
    assert told(folder) == []


def test_a_name_that_it_lacks_is_refused_with_those_that_it_has(model):
    folder = model(ATTENTION | NORM)
    has = "Use `all-linear`, or some of: embed_tokens, k_proj, lm_head, o_proj, q_proj, v_proj."
    assert told(folder, ["q_porj", "v_proj", "c_attn", "input_layernorm"]) == [
        (
            "target_modules",
            "the base model has no layer 'q_porj'",
            f"Did you mean `q_proj`? {has}",
        ),
        ("target_modules", "the base model has no layer 'c_attn'", has),
        ("target_modules", "input_layernorm is not a linear layer", has),
    ]
    (missing,) = told(folder, ["layers.7.self_attn.q_proj"])
    assert "has no layer 'layers.7.self_attn.q_proj'" in missing[1]


def test_many_names_are_not_all_listed(model):
    folder = model({f"block.part_{number}": 2 for number in range(60)})
    ((_, _, remedy),) = told(folder, ["q_proj"])
    assert "and 38 more" in remedy


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens"])
def test_weights_that_are_shared_by_two_layers_get_no_adapter(model, name):
    folder = model(ATTENTION, head=False)
    ((field, message, remedy),) = told(folder, ["q_proj", name])
    assert (field, remedy) == ("target_modules", f"Remove {name}.")
    assert "the same weights for its input and its output layer" in message
    assert told(model(ATTENTION, head=True), ["q_proj", name]) == []


def test_experts_are_adapted_together_and_without_dropout(model):
    folder = model(ATTENTION | EXPERTS | {"mlp.gate": 2}, {"model_type": "qwen3_moe"})
    assert told(folder) == []
    assert told(folder, ["gate_proj", "up_proj", "down_proj"]) == []
    ((_, message, remedy),) = told(folder, ["gate_proj", "q_proj"])
    assert (message, remedy) == (
        "the experts have gate_proj and up_proj in one tensor: up_proj is missing",
        "Add up_proj.",
    )
    for names in ("all-linear", ["down_proj"], ["gate"]):
        ((field, _, remedy),) = told(folder, names, use_dora=True)
        assert (field, "Remove it" in remedy) == ("use_dora", True)
        ((field, message, remedy),) = told(folder, names, lora_dropout=0.1)
        assert field == "lora_dropout"
        assert "experts" in message
        assert "lora_dropout: 0" in remedy
    assert told(folder, ["q_proj"], lora_dropout=0.1, use_dora=True) == []


def test_a_router_of_its_own_kind_is_no_linear_layer(model):
    folder = model(ATTENTION | {"mlp.router": 2}, {"model_type": "gpt_oss"})
    assert [message for _, message, _ in told(folder, ["router"])] == [
        "the base model has no layer 'router'"
    ]


@pytest.mark.parametrize(
    "before", ["model.language_model.layers.0.", "language_model.model.layers.0."]
)
def test_layers_that_see_get_no_adapter(model, before):
    names = {f"{before}{name}": size for name, size in ATTENTION.items()}
    names |= {"vision_tower.layers.0.mlp.fc1": 2, "vision_tower.layers.0.q_proj": 2, "lm_head": 2}
    folder = model.files(names, {"model_type": "gemma3", "text_config": {}})
    ((_, message, remedy),) = told(folder, ["fc1"])
    assert message == "fc1 belongs to the vision part, which learns nothing from texts"
    assert "fc1" not in remedy
    assert told(folder, ["q_proj"]) == []
    assert told(folder, ["model.language_model.layers.0.self_attn.q_proj"]) == []


def test_models_that_are_not_here_are_left_to_the_job(tmp_path, model):
    assert read_layers(tmp_path / "nowhere") is None
    folder = model(ATTENTION)
    (folder / "model.safetensors").write_bytes(b"\xff" * 20)
    assert read_layers(folder) is None


def test_the_backend_refuses_before_anything_is_submitted(model, tmp_path):
    folder = model(ATTENTION)
    backend = LocalGpuBackend(tmp_path / "state")
    base = BaseModel(reference=str(folder), revision=None, identity="sha256:0")
    raw = {"target_modules": ["q_porj"]}
    settings = backend.parse_hyperparameters("supervised", raw)
    with pytest.raises(HyperparametersInvalid) as caught:
        backend.inspector(base, "supervised", settings)
    assert [problem.field for problem in caught.value.problems] == ["target_modules"]
    fitting = backend.parse_hyperparameters("supervised", {"target_modules": ["q_proj"]})
    backend.inspector(base, "supervised", fitting)
    backend.inspector(dataclasses.replace(base, reference="/nowhere"), "supervised", settings)
