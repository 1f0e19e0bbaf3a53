"""A newer recipe counts only where other weights come of the same settings."""

import json
import struct

import pytest

from backends.contract.jobs import BaseModel
from backends.local_gpu.backend import LocalGpuBackend

PLAIN = {"model_type": "qwen3"}
SEEING = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}


@pytest.fixture
def recipes(tmp_path):
    """Return a function from a base model and settings to whether the newest recipe corrects it."""

    def known(config, precision, raw, method="supervised"):
        config = dict(config)
        if precision is not None:
            tensor = {"dtype": precision, "shape": [2, 2], "data_offsets": [0, 0]}
            header = json.dumps({"model.layers.0.mlp.up_proj.weight": tensor}).encode()
            blob = struct.pack("<Q", len(header)) + header
            (tmp_path / "model.safetensors").write_bytes(blob)
        (tmp_path / "config.json").write_text(json.dumps(config))
        backend = LocalGpuBackend(tmp_path / "state")
        base = BaseModel(reference=str(tmp_path), revision=None, identity="sha256:0")
        settings = backend.parse_hyperparameters(method, raw)
        newest, first = backend.recipes(base, method, settings)
        assert first.hyperparameters == settings
        assert newest.hyperparameters == {**settings, "recipe": 2}
        return newest.is_correction

    return known


@pytest.mark.parametrize(
    ("config", "precision", "raw", "expected"),
    [
        (PLAIN, "BF16", {}, False),
        (PLAIN, "BF16", {"target_modules": ["q_proj", "embed_tokens"]}, False),
        (PLAIN, "BF16", {"target_modules": ["q_proj", "lm_head"]}, True),
        (PLAIN, "F32", {"finetuning_type": "full"}, False),
        (PLAIN, "BF16", {"finetuning_type": "full"}, True),
        (PLAIN, None, {"finetuning_type": "full"}, False),
        (PLAIN | {"torch_dtype": "bfloat16"}, None, {"finetuning_type": "full"}, True),
        (SEEING, "F32", {}, True),
        (SEEING, "F32", {"finetuning_type": "full"}, True),
    ],
)
def test_recipe_2_is_for_what_it_trains_otherwise(recipes, config, precision, raw, expected):
    assert recipes(config, precision, raw) is expected


def test_plain_texts_are_no_exception(recipes):
    raw = {"finetuning_type": "full"}
    assert recipes(PLAIN, "BF16", raw, "continued-pretraining")
    assert not recipes(PLAIN, "BF16", {}, "continued-pretraining")


THINKS = "{% for m in messages %}{{ m.content }}{% endfor %}<think>"
PLAINLY = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "raw", "method", "expected"),
    [
        (THINKS, {}, "supervised", True),
        (THINKS, {}, "dpo", True),
        ("<|channel|>" + PLAINLY, {}, "supervised", True),
        (PLAINLY, {}, "supervised", False),
        (PLAINLY, {"thinking": "on"}, "supervised", True),
        (PLAINLY, {"thinking": "off"}, "supervised", False),
        # A template that replaces the model's own is what examples are rendered with.
        (THINKS, {"chat_template": "chatml"}, "supervised", False),
        (None, {}, "supervised", False),
        (None, {"thinking": "on"}, "supervised", True),
        # Plain texts have no template.
        (THINKS, {}, "continued-pretraining", False),
    ],
)
def test_recipe_2_is_for_templates_that_it_renders_otherwise(
    recipes, tmp_path, template, raw, method, expected
):
    if template is not None:
        (tmp_path / "chat_template.jinja").write_text(template)
    assert recipes(PLAIN, "BF16", raw, method) is expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"target_modules": ["model.lm_head"]}, True),
        ({"target_modules": ["lm_head_proj", "my.lm_heads"]}, False),
        ({"target_modules": "all-linear"}, False),
    ],
)
def test_an_adapter_on_the_output_layer_is_known_by_the_last_part_of_its_name(
    recipes, raw, expected
):
    assert recipes(PLAIN, "F32", raw) is expected


@pytest.mark.parametrize(
    ("config", "precision", "expected"),
    [
        ({"dtype": "float32"}, None, False),
        ({"dtype": "float16"}, None, True),
        ({"dtype": None, "torch_dtype": "bfloat16"}, None, True),
        ({"dtype": "float32", "torch_dtype": "bfloat16"}, None, False),
        # What is stored counts, whatever the settings say of it.
        ({"dtype": "bfloat16"}, "F32", False),
        ({"dtype": "float32"}, "F16", True),
    ],
)
def test_full_tuning_is_stored_in_the_precision_of_its_base(recipes, config, precision, expected):
    assert recipes(PLAIN | config, precision, {"finetuning_type": "full"}) is expected
