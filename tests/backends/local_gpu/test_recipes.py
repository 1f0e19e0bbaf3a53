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
