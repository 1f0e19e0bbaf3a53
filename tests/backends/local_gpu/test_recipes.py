"""The recipe rises only where other weights come of the same settings."""

import json
import struct

import pytest

from backends.base import BaseModel
from backends.local_gpu.backend import LocalGpuBackend

PLAIN = {"model_type": "qwen3"}
SEEING = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}


@pytest.fixture
def recipes(tmp_path):
    """Return a function from a base model and settings to the recipes that train it, newest first."""

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
        found = backend.recipes(base, method, settings)
        assert all({**one, "recipe": 1} == settings for one in found)
        return [one["recipe"] for one in found]

    return known


@pytest.mark.parametrize(
    ("config", "precision", "raw", "expected"),
    [
        (PLAIN, "BF16", {}, [1]),
        (PLAIN, "BF16", {"target_modules": ["q_proj", "embed_tokens"]}, [1]),
        (PLAIN, "BF16", {"target_modules": ["q_proj", "lm_head"]}, [2, 1]),
        (PLAIN, "F32", {"finetuning_type": "full"}, [1]),
        (PLAIN, "BF16", {"finetuning_type": "full"}, [2, 1]),
        (PLAIN, None, {"finetuning_type": "full"}, [1]),
        (PLAIN | {"torch_dtype": "bfloat16"}, None, {"finetuning_type": "full"}, [2, 1]),
        (SEEING, "F32", {}, [2, 1]),
        (SEEING, "F32", {"finetuning_type": "full"}, [2, 1]),
    ],
)
def test_recipe_2_is_for_what_it_trains_otherwise(recipes, config, precision, raw, expected):
    assert recipes(config, precision, raw) == expected


def test_plain_texts_are_no_exception(recipes):
    raw = {"finetuning_type": "full"}
    assert recipes(PLAIN, "BF16", raw, "continued-pretraining") == [2, 1]
    assert recipes(PLAIN, "BF16", {}, "continued-pretraining") == [1]
