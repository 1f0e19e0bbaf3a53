"""Adapters mean the same wherever they are opened, and no part of one is there for nothing."""

import importlib
import json
import math
import shutil

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
load_file = pytest.importorskip("safetensors.torch").load_file
adapters = importlib.import_module("backends.local_gpu.models.adapters")
models = importlib.import_module("backends.local_gpu.models.model_folders")

pytestmark = [
    pytest.mark.torch,
    # peft asks transformers for what transformers has renamed.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    # It compares its own patterns for experts with the names of modules, not of parameters.
    pytest.mark.filterwarnings("ignore:The following .*_pattern keys did not match:RuntimeWarning"),
]

CPU = torch.device("cpu")
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 128,
}
EYES = {"hidden_size": 32, "intermediate_size": 48}
MODELS = {
    "qwen3": TEXT | {"tie_word_embeddings": False},
    "qwen3_moe": TEXT
    | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    | {"decoder_sparse_step": 1, "mlp_only_layers": []},
    "gemma3": {
        "text_config": TEXT | {"sliding_window": 64},
        "vision_config": EYES
        | {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14},
        "mm_tokens_per_image": 4,
    },
    "qwen3_5": {
        "text_config": TEXT
        | {"layer_types": ["linear_attention", "full_attention"]}
        | {"linear_num_value_heads": 2, "linear_num_key_heads": 1}
        | {"linear_key_head_dim": 16, "linear_value_head_dim": 16},
        "vision_config": EYES | {"depth": 1, "num_heads": 2, "out_hidden_size": 32},
    },
}
SETTINGS = {
    "r": 8,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "use_rslora": True,
    "target_modules": "all-linear",
    "recipe": 2,
}


@pytest.fixture(scope="module")
def bases(base_folder, tmp_path_factory):
    """Return a function from a model type to a tiny base model that has the usual tokenizer."""
    made = {}

    def base(kind, dtype=torch.float32):
        if (kind, dtype) not in made:
            folder = tmp_path_factory.mktemp("base") / kind
            shutil.copytree(base_folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
            settings = json.loads((base_folder / "config.json").read_text())
            sizes = {key: settings[key] for key in ("vocab_size", "eos_token_id")}
            changes = {**MODELS[kind]}
            if "text_config" in changes:
                changes["text_config"] = changes["text_config"] | sizes
                last = sizes["vocab_size"] - 1
                sizes = dict.fromkeys(("image_token_index", "image_token_id"), last)
            torch.manual_seed(0)
            config = transformers.AutoConfig.for_model(kind, **changes | sizes)
            whole(config).to(dtype).save_pretrained(folder)
            made[kind, dtype] = folder
        return made[kind, dtype]

    return base


def whole(config, **given):
    """Return a model of the class that is served: all of it, what sees included."""
    auto = (
        transformers.AutoModelForMultimodalLM
        if hasattr(config, "vision_config")
        else transformers.AutoModelForCausalLM
    )
    if given:
        return auto.from_pretrained(**given)
    return auto.from_config(config)


def logits(model):
    model.eval()
    ids = torch.arange(1, 17)[None]
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def adapted(folder, **settings):
    """Return a base model with an adapter on which something was learned."""
    torch.manual_seed(1)
    model = adapters.add_adapter(models.load_model(folder, torch.float32, CPU), SETTINGS | settings)
    for _, weights in adapters.start_values(model):
        torch.nn.init.normal_(weights, std=0.05)
    return model


def saved(model, base, target):
    reference = BaseModel(reference=str(base), revision=None, identity="sha256:0")
    adapters.save_adapter(model, target, reference, base)
    return json.loads((target / "adapter_config.json").read_text())


@pytest.mark.parametrize("kind", MODELS)
def test_plain_peft_and_ftctl_open_an_adapter_as_it_was_trained(bases, tmp_path, kind):
    base = bases(kind)
    model = adapted(base)
    trained = logits(model)
    config = saved(model, base, tmp_path)
    assert config["use_rslora"] is False
    assert (tmp_path / "adapter_model.safetensors").exists()

    served = whole(
        transformers.AutoConfig.from_pretrained(base), pretrained_model_name_or_path=base
    )
    untouched = logits(served)
    peft_model = peft.PeftModel.from_pretrained(served, tmp_path)
    torch.testing.assert_close(logits(peft_model), trained)
    assert not torch.allclose(untouched, trained, atol=1e-3)
    stored = set(load_file(tmp_path / "adapter_model.safetensors"))
    assert stored == {
        name.replace(".default", "") for name, _ in peft_model.named_parameters() if "lora_" in name
    }

    ours = models.load_model(base, torch.float32, CPU)
    settings, weights = adapters.read_adapter(tmp_path, base, ours)
    ours = peft.get_peft_model(ours, settings)
    peft.set_peft_model_state_dict(ours, weights)
    torch.testing.assert_close(logits(ours), trained)


@pytest.mark.parametrize("kind", ["qwen3", "qwen3_moe"])
def test_a_tool_that_ignores_use_rslora_applies_the_same_scale(bases, tmp_path, kind):
    base = bases(kind)
    model = adapted(base)
    config = saved(model, base, tmp_path)
    scales = {
        layer.scaling["default"]
        for layer in model.modules()
        if isinstance(layer, peft.tuners.lora.LoraLayer)
    }
    rank, alpha = config["rank_pattern"], config["alpha_pattern"]
    assert set(rank) == set(alpha)
    plain = {config["lora_alpha"] / config["r"], *(alpha[key] / rank[key] for key in rank)}
    assert sorted(plain) == pytest.approx(sorted(scales), rel=1e-15)
    assert (kind == "qwen3_moe") == bool(alpha)


def test_folders_written_before_are_read_as_they_were_meant(bases, tmp_path):
    base = bases("qwen3_5")
    model = adapted(base)
    trained = logits(model)
    for config in model.peft_config.values():
        assert config.use_rslora
    model.save_pretrained(tmp_path)  # under the names of the language part alone
    ours = models.load_model(base, torch.float32, CPU)
    settings, weights = adapters.read_adapter(tmp_path, base, ours)
    assert settings.use_rslora
    ours = peft.get_peft_model(ours, settings)
    peft.set_peft_model_state_dict(ours, weights)
    torch.testing.assert_close(logits(ours), trained)


@pytest.mark.parametrize("rank", [1, 3, 8, 16, 100])
@pytest.mark.parametrize("alpha", [0.5, 7, 16.0, 32, 200])
def test_the_saved_alpha_gives_the_scale_that_was_trained_with(alpha, rank):
    found = adapters.plain_alpha(alpha, rank, rslora=True)
    assert found / rank == pytest.approx(alpha / math.sqrt(rank), rel=1e-15)
    root = math.isqrt(rank)
    if root * root == rank and float(alpha).is_integer():
        assert (type(found), found) == (int, alpha * root)
    assert adapters.plain_alpha(alpha, rank, rslora=False) == alpha
    assert isinstance(adapters.plain_alpha(32.0, rank, rslora=False), int)


def test_equal_adapters_are_written_in_equal_bytes(bases, tmp_path):
    base = bases("qwen3_moe")
    for name in ("one", "other"):
        model = adapted(base)
        for config in model.peft_config.values():
            # Sets of text come in another order in every process.
            config.target_parameters = sorted(config.target_parameters, reverse=name == "other")
        saved(model, base, tmp_path / name)
    one, other = (
        [
            (tmp_path / name / file).read_bytes()
            for file in ("adapter_config.json", "adapter_model.safetensors")
        ]
        for name in ("one", "other")
    )
    assert one == other


@pytest.mark.parametrize("target_modules", ["all-linear", ["q_proj", "v_proj"]])
@pytest.mark.parametrize("kind", ["gemma3", "qwen3_5"])
def test_what_sees_gets_no_adapter(bases, tmp_path, kind, target_modules):
    base = bases(kind)
    config = saved(adapted(base, target_modules=target_modules), base, tmp_path)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert stored
    assert all(key.startswith("base_model.model.model.language_model.") for key in stored)
    assert all("language_model" in name for name in config["target_modules"])


def test_naming_only_layers_that_see_is_refused(bases):
    with pytest.raises(BackendError, match="learn nothing from texts") as caught:
        adapted(bases("gemma3"), target_modules=["fc1", "fc2"])
    assert "all-linear" in caught.value.remedy


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens"])
def test_no_adapter_lies_on_weights_that_are_input_and_output_layer_at_once(base_folder, name):
    with pytest.raises(BackendError, match="the same weights for its input and its output"):
        adapted(base_folder, target_modules=["q_proj", name])


@pytest.fixture
def trained(train_here, examples):
    """Return a function that trains in this process and returns the model's folder."""

    def run(base, recipe=2, **settings):
        settings = {"num_train_epochs": 1, "learning_rate": 1e-2} | settings
        return train_here(recipe, base=base, rows=examples(8), held_out=[], **settings).model

    return run


@pytest.mark.parametrize("names", [["q_proj", "lm_head"], ["lm_head"], ["embed_tokens"]])
def test_every_layer_that_is_named_is_trained(bases, trained, names):
    folder = trained(bases("qwen3"), target_modules=names)
    stored = load_file(folder / "adapter_model.safetensors")
    learned = {
        key.partition(".lora_")[0].rpartition(".")[2]
        for key, weights in stored.items()
        if ("lora_B" in key or "lora_embedding_A" in key) and weights.any()
    }
    assert learned == set(names)


def test_a_layer_that_learns_nothing_fails_the_job(bases, trained, monkeypatch):
    def on_all(model, _request, _base):
        config = peft.LoraConfig(task_type="CAUSAL_LM", r=8, target_modules=["q_proj", "fc1"])
        return peft.get_peft_model(model, config)

    monkeypatch.setattr("backends.local_gpu.training.train.start_adapter", on_all)
    with pytest.raises(BackendError, match=r"adapter on model\.vision_tower.* has learned nothing"):
        trained(bases("gemma3"))


def test_a_job_of_the_first_recipe_ends_as_it_did(bases, trained):
    stored = load_file(trained(bases("gemma3"), recipe=1) / "adapter_model.safetensors")
    assert any("vision_tower" in key for key in stored)


@pytest.mark.parametrize("kind", ["qwen3", "qwen3_5", "gemma3"])
def test_a_whole_model_is_stored_as_its_base_was_with_all_its_parts(bases, trained, kind):
    base = bases(kind, torch.bfloat16)
    folder = trained(base, finetuning_type="full", learning_rate=1e-3)
    before, after = (load_file(one / "model.safetensors") for one in (base, folder))
    assert before.keys() == after.keys()
    assert {name: one.dtype for name, one in after.items()} == {
        name: one.dtype for name, one in before.items()
    }
    seeing = [name for name in before if "vision" in name or "visual" in name]
    assert bool(seeing) == (kind != "qwen3")
    assert all(torch.equal(before[name], after[name]) for name in seeing)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    (architecture,) = json.loads((folder / "config.json").read_text())["architectures"]
    assert architecture == json.loads((base / "config.json").read_text())["architectures"][0]


def test_the_first_recipe_stores_whole_models_in_float32(bases, trained):
    folder = trained(bases("qwen3", torch.bfloat16), recipe=1, finetuning_type="full")
    stored = load_file(folder / "model.safetensors")
    assert {one.dtype for one in stored.values()} == {torch.float32}


def test_experts_are_adapted_under_the_names_of_the_files_where_peft_does_so():
    # A newer peft or transformers may know more types.
    conversion = vars(importlib.import_module("peft.utils.transformers_weight_conversion"))
    patterns, known = (
        conversion[name] for name in ("_MODEL_TO_CONVERSION_PATTERN", "_MOE_TARGET_MODULE_MAPPING")
    )
    joined = importlib.import_module("backends.local_gpu.models.adapter_layers").JOINED_TYPES
    # Names in CamelCase are those of classes, not of model types.
    types = {name for name, pattern in patterns.items() if pattern in known and name.islower()}
    assert joined == types
    formerly = importlib.import_module("backends.local_gpu.models.targets.loaded").FORMER
    names = {part for mapping in known.values() for part in mapping}
    assert {part for parts in formerly.values() for part in parts} == names
