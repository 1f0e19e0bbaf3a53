"""Models of headers alone: settings, and the names and sizes of weights that nobody reads."""

import json
import struct
from pathlib import Path

QWEN3_8B = {
    "model_type": "qwen3",
    "hidden_size": 4096,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 12288,
    "hidden_act": "silu",
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
}


def tensors_of(config):
    """Return names and sizes of the weights of a Qwen3."""
    wide, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    found = {
        "model.embed_tokens.weight": [config["vocab_size"], wide],
        "lm_head.weight": [config["vocab_size"], wide],
        "model.norm.weight": [wide],
    }
    for layer in range(config["num_hidden_layers"]):
        for name, size in {
            "self_attn.q_proj": [queries, wide],
            "self_attn.k_proj": [keys, wide],
            "self_attn.v_proj": [keys, wide],
            "self_attn.o_proj": [wide, queries],
            "self_attn.q_norm": [config["head_dim"]],
            "self_attn.k_norm": [config["head_dim"]],
            "mlp.gate_proj": [inner, wide],
            "mlp.up_proj": [inner, wide],
            "mlp.down_proj": [wide, inner],
            "input_layernorm": [wide],
            "post_attention_layernorm": [wide],
        }.items():
            found[f"model.layers.{layer}.{name}.weight"] = size
    return found


def write_headers(folder: Path, config, tensors=None) -> Path:
    """Write a model's settings, and a weight file of headers alone: no weight is ever read."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    header = {
        name: {"dtype": "BF16", "shape": size, "data_offsets": [0, 0]}
        for name, size in (tensors_of(config) if tensors is None else tensors).items()
    }
    data = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(data)) + data)
    return folder
