"""Layers of a model by its files: the same as once it is loaded, without loading it."""

import json
import struct
from importlib import import_module

import pytest

from backends.local_gpu.models.targets.selection import Kind
from backends.local_gpu.models.targets.stored import read_stored
from backends.local_gpu.models.targets.trained_part import trained_part

FAMILIES = (
    *("llama", "phi3", "gpt2", "gemma2", "granite", "exaone4", "glm4.5-template", "qwen3.6"),
    *("qwen3-moe", "qwen2-moe", "mixtral", "gpt-oss", "gemma3-vision", "qwen2-vl"),
)


def seen(known):
    """Return what can be chosen of a model, without what only the job or only the plan knows."""
    return {
        one.name: (one.kind, {one.out, one.into}, one.experts, one.joins, bool(one.former))
        for one in known.candidates
        # Files lack an output layer that shares its weights, and tell less of norms.
        if not (known.tied and one.kind is Kind.HEAD) and one.kind is not Kind.OTHER
    }


@pytest.mark.torch
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", FAMILIES)
def test_the_plan_knows_the_layers_that_the_job_finds(family, name):
    torch = import_module("torch")
    loaded = import_module("backends.local_gpu.models.targets.loaded")
    folders = import_module("backends.local_gpu.models.model_folders")
    model = folders.load_model(family(name), torch.float32, torch.device("cpu"))
    stored, known = read_stored(family(name)), loaded.known_of(model)
    assert stored.known.tied == known.tied
    assert seen(stored.known) == seen(known)
    assert stored.weights == sum(one.numel() for one in model.parameters())
    language = model.get_decoder()
    inside = sum(one.numel() for one in language.parameters())
    head = model.get_output_embeddings().weight
    inside += 0 if known.tied else head.numel()
    assert stored.weights - stored.beside == inside


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a model's settings and the header of its weights."""

    def written(tensors, **config):
        header = {
            name: {"dtype": "BF16", "shape": list(shape), "data_offsets": [0, 0]}
            for name, shape in tensors.items()
        }
        text = json.dumps(header).encode()
        (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
        return tmp_path

    return written


PLAIN = {
    "model.embed_tokens.weight": (100, 8),
    "model.layers.0.self_attn.q_proj.weight": (6, 8),
    "model.layers.0.self_attn.q_proj.bias": (6,),
    "model.layers.0.input_layernorm.weight": (8,),
    "model.projector.weight": (5, 8),
    "lm_head.weight": (100, 8),
}


def kinds(folder):
    return {
        one.name: (str(one.kind), one.out, one.into) for one in read_stored(folder).known.candidates
    }


def test_layers_have_kinds_and_sizes(write):
    assert kinds(write(PLAIN)) == {
        "model.embed_tokens": ("embedding", 8, 100),
        "model.layers.0.self_attn.q_proj": ("linear", 6, 8),
        "model.layers.0.input_layernorm": ("other", 8, 1),
        # Outside the layers, nothing is linear but the output.
        "model.projector": ("other", 5, 8),
        "lm_head": ("head", 100, 8),
    }
    stored = read_stored(write(PLAIN))
    assert (stored.weights, stored.beside, stored.named) == (800 + 48 + 6 + 8 + 40 + 800, 0, True)


def test_gpt_2_stores_its_layers_the_other_way_round(write):
    tensors = {"wte.weight": (100, 8), "h.0.attn.c_attn.weight": (8, 24)}
    folder = write({f"transformer.{name}": size for name, size in tensors.items()})
    name = "transformer.h.0.attn.c_attn"
    assert kinds(folder)[name] == ("linear", 8, 24)
    folder = write(
        {f"transformer.{name}": size for name, size in tensors.items()}, model_type="gpt2"
    )
    assert kinds(folder)[name] == ("linear", 24, 8)


@pytest.mark.parametrize(
    ("config", "head", "tied"),
    [
        ({}, True, False),
        ({}, False, True),
        ({"tie_word_embeddings": True}, True, False),
        ({"tie_word_embeddings": False}, False, False),
        (
            {"text_config": {"tie_word_embeddings": False}, "tie_word_embeddings": True},
            False,
            False,
        ),
        ({"text_config": {}, "tie_word_embeddings": False}, False, False),
        ({"text_config": {}}, False, True),
    ],
)
def test_weights_are_shared_where_files_lack_the_output_layer(write, config, head, tied):
    tensors = {name: size for name, size in PLAIN.items() if head or name != "lm_head.weight"}
    assert read_stored(write(tensors, **config)).known.tied is tied


def experts(count, before="model.layers.0.mlp", names=("gate_proj", "up_proj", "down_proj")):
    sizes = dict(zip(names, ((5, 8), (5, 8), (8, 5)), strict=True))
    return {
        f"{before}.experts.{number}.{name}.weight": size
        for number in range(count)
        for name, size in sizes.items()
    }


@pytest.mark.parametrize(
    ("kind", "former", "joins", "router"),
    [
        # peft takes the names of the files for experts of these types.
        ("qwen3_moe", ("gate_proj", "up_proj"), 2, ("gate",)),
        ("qwen2_moe", (), 1, ()),
    ],
)
def test_experts_become_two_parameters_of_a_layer(write, kind, former, joins, router):
    tensors = {**experts(3), "model.layers.0.mlp.gate.weight": (3, 8)}
    stored = read_stored(write(tensors, model_type=kind))
    found = {one.name.rpartition("mlp.")[2]: one for one in stored.known.candidates}
    assert found.keys() == {"experts.gate_up_proj", "experts.down_proj", "gate.weight"}
    wide, narrow = found["experts.gate_up_proj"], found["experts.down_proj"]
    assert (wide.out, wide.into, wide.experts, wide.former, wide.joins) == (10, 8, 3, former, joins)
    assert (narrow.out, narrow.into, narrow.experts, narrow.joins) == (8, 5, 3, 1)
    assert (found["gate.weight"].kind, found["gate.weight"].former) == (Kind.ROUTER, router)


def test_mixtral_s_experts_have_the_name_that_they_have_once_they_are_loaded(write):
    before = "model.layers.0.block_sparse_moe"
    tensors = experts(2, before, ("w1", "w3", "w2")) | {f"{before}.gate.weight": (2, 8)}
    stored = read_stored(write(tensors, model_type="mixtral"))
    assert {one.name for one in stored.known.candidates} == {
        "model.layers.0.mlp.experts.gate_up_proj",
        "model.layers.0.mlp.experts.down_proj",
        "model.layers.0.mlp.gate.weight",
    }


def test_a_gate_of_a_model_without_experts_is_a_layer(write):
    folder = write(
        {"model.layers.0.mlp.gate.weight": (3, 8), "model.layers.0.router.weight": (3, 8)}
    )
    assert {name: kind for name, (kind, _, _) in kinds(folder).items()} == {
        "model.layers.0.mlp.gate": "linear",
        "model.layers.0.router.weight": "router",
    }


@pytest.mark.parametrize(
    ("files", "config", "loaded", "named"),
    [
        # Of these types, training loads the language part alone, or the whole.
        ("model.language_model.layers.0.q", "qwen3_5", "model.layers.0.q", True),
        ("model.language_model.layers.0.q", "gemma3", "model.language_model.layers.0.q", True),
        ("language_model.model.layers.0.q", "gemma3", "model.language_model.layers.0.q", True),
        ("model.layers.0.q", "gemma3", "model.language_model.layers.0.q", True),
        ("text.layers.0.q", "gemma3", "text.layers.0.q", False),
    ],
)
def test_layers_of_a_model_that_sees_have_the_names_of_the_loaded_one(
    write, files, config, loaded, named
):
    tensors = {f"{files}.weight": (6, 8), "model.vision_tower.layers.0.fc1.weight": (7, 7)}
    stored = read_stored(write(tensors, model_type=config, text_config={}))
    assert [one.name for one in stored.known.candidates] == [loaded]
    assert (stored.weights, stored.beside, stored.named) == (48 + 49, 49, named)


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors"])
def test_a_model_whose_files_are_not_here_is_not_known(write, damage):
    folder = write(PLAIN)
    assert read_stored(folder) is not None
    (folder / damage).write_text("{")
    assert read_stored(folder) is None
    (folder / damage).unlink()
    assert read_stored(folder) is None


LORA = {"finetuning_type": "lora", "r": 2, "target_modules": ["q_proj"]}


@pytest.mark.parametrize(
    ("config", "settings", "parameters", "adapter_bytes"),
    [
        ({}, {}, 2 * (6 + 8), 4 * 28),
        ({}, {"target_modules": ["nothing"]}, None, None),
        ({}, {"modules_to_save": ["embed_tokens"]}, 28 + 800, 4 * 828),
        # Shared weights are trained once, and stored under both names.
        ({"tie": True}, {"modules_to_save": ["embed_tokens"]}, 28 + 800, 4 * (828 + 800)),
        ({}, {"finetuning_type": "full"}, 1702, None),
    ],
)
def test_the_trained_part_is_counted_with_what_its_file_takes(
    write, config, settings, parameters, adapter_bytes
):
    tensors = {name: size for name, size in PLAIN.items() if not (config and "head" in name)}
    part = trained_part(read_stored(write(tensors)), LORA | settings)
    if parameters is None:
        assert part is None
        return
    assert (part.parameters, part.adapter_bytes) == (parameters, adapter_bytes)
    assert part.of == read_stored(write(tensors)).weights
    assert part.warnings == ()


def test_experts_that_get_no_adapter_are_told_with_how_they_do(write):
    gate = {"model.layers.0.mlp.gate.weight": (3, 8)}
    attention = {"model.layers.0.self_attn.q_proj.weight": (6, 8)}
    folder = write(experts(3) | gate | attention, model_type="qwen2_moe")
    (warning,) = trained_part(read_stored(folder), LORA).warnings
    assert warning == (
        "83% of the model are experts that get no adapter: with `target_parameters: "
        "[experts.gate_up_proj, experts.down_proj]` they do"
    )
    every = {"target_parameters": ["experts.gate_up_proj", "experts.down_proj"]}
    assert trained_part(read_stored(folder), LORA | every).warnings == ()
    router = {"target_parameters": [*every["target_parameters"], "gate.weight"]}
    (warning,) = trained_part(read_stored(folder), LORA | router).warnings
    assert warning == (
        "the router that chooses experts is trained too, and few examples may unbalance it: "
        "`exclude_modules: [gate]` leaves it as it is"
    )
    # Half of a small share of the model is not most of it.
    wide = {"model.layers.0.self_attn.k_proj.weight": (600, 8)}
    folder = write(experts(3) | gate | attention | wide, model_type="qwen2_moe")
    assert trained_part(read_stored(folder), LORA).warnings == ()
