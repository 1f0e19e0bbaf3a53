"""The shape of a model of each family, from its settings and the names of its weights."""

import json

import pytest

from backends.local_gpu.memory.shape import read_shape
from tests.backends.local_gpu.memory.headers import write_headers

WIDE, INNER, WORDS = 64, 160, 500
LLAMA = {
    "model_type": "llama",
    "hidden_size": WIDE,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": INNER,
    "hidden_act": "silu",
    "vocab_size": WORDS,
}
ATTENTION = {
    "self_attn.q_proj.weight": [64, 64],
    "self_attn.k_proj.weight": [32, 64],
    "self_attn.v_proj.weight": [32, 64],
    "self_attn.o_proj.weight": [64, 64],
    "input_layernorm.weight": [64],
    "post_attention_layernorm.weight": [64],
}
DENSE = {
    "mlp.gate_proj.weight": [INNER, 64],
    "mlp.up_proj.weight": [INNER, 64],
    "mlp.down_proj.weight": [64, INNER],
}
ENDS = {"model.embed_tokens.weight": [WORDS, 64], "model.norm.weight": [64]}
OWN = 64 * 64 * 2 + 2 * 32 * 64 + 2 * 64 + 3 * INNER * 64
"""Numbers of a layer of attention and a dense feed-forward part."""


def layers(*parts, prefix="model.layers", count=2):
    return {
        f"{prefix}.{number}.{name}": size
        for number in range(count)
        for part in parts
        for name, size in part.items()
    }


def experts(count, inner, name="mlp.experts.{}.{}.weight", names=("gate_proj", "up_proj")):
    found = {}
    for number in range(count):
        for one in names:
            found[name.format(number, one)] = [inner, 64]
        found[name.format(number, "down_proj")] = [64, inner]
    return found


GPT2 = {
    "model_type": "gpt2",
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "vocab_size": WORDS,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
}
GPT2_LAYER = {
    "ln_1.weight": [64],
    "ln_1.bias": [64],
    "attn.c_attn.weight": [64, 192],
    "attn.c_proj.weight": [64, 64],
    "ln_2.weight": [64],
    "mlp.c_fc.weight": [64, 256],
    "mlp.c_proj.weight": [256, 64],
}


@pytest.fixture
def shape_of(tmp_path):
    return lambda config, tensors: read_shape(write_headers(tmp_path, config, tensors))


def test_a_llama_has_queries_of_all_heads_and_keys_of_some(shape_of):
    found = shape_of(LLAMA, {**ENDS, **layers(ATTENTION, DENSE)})
    assert (found.hidden, found.layers, found.heads) == (64, 2, 4)
    assert (found.queries, found.keys, found.inner) == (64, 32, INNER)
    assert (found.experts, found.active, found.shared, found.banks) == (0, 1, 0, ())
    assert (found.gated, found.simple, found.norms) == (True, True, 2)
    assert (found.layer_norms, found.queries_normed, found.vocabulary) == (False, False, WORDS)
    assert (found.fixed_attention, found.fixed_heads, found.fixed_width) == (0, 0, 0)
    assert (found.parameters, found.beside) == (WORDS * 64 + 64 + 2 * OWN, 0)
    assert found.linear[:2] == (("q_proj", 64, 64), ("k_proj", 32, 64))
    assert found.linear[-1] == ("down_proj", 64, INNER)
    assert len(found.linear) == 2 * 7


@pytest.mark.parametrize(
    ("change", "queries", "keys"),
    [
        ({}, 64, 32),
        ({"head_dim": 24}, 96, 48),
        ({"num_key_value_heads": None}, 64, 64),
        ({"num_key_value_heads": 1}, 64, 16),
        ({"head_dim": None, "num_attention_heads": 8}, 64, 16),
    ],
)
def test_the_width_of_a_head_is_named_or_follows_from_their_number(shape_of, change, queries, keys):
    found = shape_of({**LLAMA, **change}, {**ENDS, **layers(ATTENTION, DENSE)})
    assert (found.queries, found.keys) == (queries, keys)


def test_a_gpt2_stores_its_products_the_other_way_round(shape_of):
    ends = {"wte.weight": [WORDS, 64], "wpe.weight": [128, 64], "ln_f.weight": [64]}
    found = shape_of(GPT2, {**ends, **layers(GPT2_LAYER, prefix="h")})
    assert (found.hidden, found.layers, found.heads, found.inner) == (64, 2, 4, 4 * 64)
    assert (found.gated, found.simple, found.layer_norms, found.norms) == (False, False, True, 2)
    assert found.linear[:4] == (
        ("c_attn", 192, 64),
        ("c_proj", 64, 64),
        ("c_fc", 256, 64),
        ("c_proj", 64, 256),
    )
    wider = shape_of({**GPT2, "n_inner": 100}, {**ends, **layers(GPT2_LAYER, prefix="h")})
    assert wider.inner == 100


@pytest.mark.parametrize(
    ("key", "name", "simple"),
    [
        ("hidden_act", "silu", True),
        ("hidden_act", "gelu_pytorch_tanh", True),
        ("hidden_act", "gelu_new", False),
        ("hidden_activation", "relu", True),
        ("activation_function", "gelu", True),
        ("activation_function", "quick_gelu", False),
    ],
)
def test_activation_functions_of_one_operation(shape_of, key, name, simple):
    config = {one: value for one, value in LLAMA.items() if one != "hidden_act"}
    tensors = {**ENDS, **layers(ATTENTION, DENSE)}
    assert shape_of({**config, key: name}, tensors).simple is simple
    # Gemma names an old activation beside the one that it has.
    both = {**config, "hidden_act": "gelu_new", "hidden_activation": "gelu_pytorch_tanh"}
    assert shape_of(both, tensors).simple
    # A family that names none has that of GPT-2.
    assert not shape_of(config, tensors).simple


@pytest.mark.parametrize(
    "names",
    [
        ("hidden_size", "num_hidden_layers", "num_attention_heads"),
        ("n_embd", "n_layer", "n_head"),
        ("d_model", "num_layers", "num_heads"),
    ],
)
def test_families_name_their_sizes_differently(shape_of, names):
    config = {"vocab_size": WORDS, **dict(zip(names, (64, 2, 4), strict=True))}
    found = shape_of(config, {**ENDS, **layers(ATTENTION, DENSE)})
    assert (found.hidden, found.layers, found.heads) == (64, 2, 4)
    # What a family does not name follows from the width.
    assert (found.queries, found.keys, found.inner, found.model_type) == (64, 64, 256, "")


@pytest.mark.parametrize(
    ("inner", "gated"),
    [
        ({"mlp.gate_proj.weight": [INNER, 64]}, True),
        ({"mlp.gate_up_proj.weight": [2 * INNER, 64]}, True),
        ({"feed_forward.w3.weight": [INNER, 64]}, True),
        ({"feed_forward.w1.weight": [INNER, 64]}, False),
        ({"mlp.router.gate.weight": [4, 64]}, False),
        ({"mlp.fc1.weight": [INNER, 64]}, False),
    ],
)
def test_a_gate_is_known_by_its_name(shape_of, inner, gated):
    assert shape_of(LLAMA, {**ENDS, **layers(ATTENTION, inner)}).gated is gated


@pytest.mark.parametrize(("value", "longest"), [(4096, 4096), (None, None), ("long", None)])
def test_how_much_a_model_reads_at_once_is_named_or_not_known(shape_of, value, longest):
    config = {**LLAMA, "max_position_embeddings": value}
    tensors = {**ENDS, **layers(ATTENTION, DENSE)}
    assert shape_of(config, tensors).longest == longest
    seeing = {"model_type": "gemma3", "max_position_embeddings": 7, "text_config": config}
    assert shape_of(seeing, tensors).longest == longest


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_has_no_shape(tmp_path, name):
    folder = write_headers(tmp_path, LLAMA, {**ENDS, **layers(ATTENTION, DENSE)})
    (folder / name).unlink()
    assert read_shape(folder) is None
    (folder / name).write_bytes(b"")
    assert read_shape(folder) is None


def test_experts_that_are_stored_one_by_one(shape_of):
    config = {
        **LLAMA,
        "model_type": "qwen3_moe",
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 48,
        "shared_expert_intermediate_size": 96,
    }
    router = {"mlp.gate.weight": [4, 64]}
    found = shape_of(config, {**ENDS, **layers(ATTENTION, experts(4, 48), router)})
    assert (found.experts, found.active, found.inner, found.shared) == (4, 2, 48, 96)
    assert found.joined
    # The router is a product of its own; experts are not.
    assert [name for name, _, _ in found.linear[:5]] == [
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        "gate",
    ]
    assert len(found.linear) == 2 * 5
    assert len(found.banks) == 2 * 4 * 3
    assert {numbers for _, numbers in found.banks} == {48 * 64}


@pytest.mark.parametrize(
    ("change", "count", "inner", "shared"),
    [
        ({"num_local_experts": 8}, 8, INNER, 0),
        (
            {"n_routed_experts": 8, "n_shared_experts": 2, "moe_intermediate_size": 48},
            *(8, 48, 96),
        ),
        ({"num_experts": 8, "num_experts_per_tok": None}, 8, INNER, 0),
        # A dense model may name a size for experts that it does not have.
        ({"moe_intermediate_size": 48}, 0, INNER, 0),
        ({"num_experts": 0, "num_local_experts": None}, 0, INNER, 0),
        ({"num_experts": 0, "num_experts_per_tok": 2}, 0, INNER, 0),
    ],
)
def test_families_name_their_experts_differently(shape_of, change, count, inner, shared):
    found = shape_of({**LLAMA, **change}, {**ENDS, **layers(ATTENTION, DENSE)})
    assert (found.experts, found.active) == (count, 1)
    assert (found.inner, found.shared) == (inner, shared)
    assert not found.joined


def test_experts_that_are_stored_together(shape_of):
    config = {
        **LLAMA,
        "model_type": "gpt_oss",
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    }
    bank = {
        "mlp.router.weight": [4, 64],
        "mlp.router.bias": [4],
        "mlp.experts.gate_up_proj": [4, 64, 2 * INNER],
        "mlp.experts.gate_up_proj_bias": [4, 2 * INNER],
        "mlp.experts.down_proj": [4, INNER, 64],
        "mlp.experts.down_proj_bias": [4, 64],
    }
    found = shape_of(config, {**ENDS, **layers(ATTENTION, bank)})
    assert (
        found.banks
        == (
            ("gate_up_proj", 4 * 64 * 2 * INNER),
            ("down_proj", 4 * INNER * 64),
        )
        * 2
    )
    # Neither the router nor a bias is a product that is kept.
    assert {name for name, _, _ in found.linear} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert (found.eager, found.gated, found.capped, found.caps_logits) == (True, True, False, False)


def test_a_gemma_caps_scores_and_logits_and_norms_before_and_after(shape_of):
    more = {"pre_feedforward_layernorm.weight": [64], "post_feedforward_layernorm.weight": [64]}
    config = {
        **LLAMA,
        "model_type": "gemma2",
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    }
    found = shape_of(config, {**ENDS, **layers(ATTENTION, DENSE, more)})
    assert (found.norms, found.eager, found.capped, found.caps_logits) == (4, True, True, True)
    without = {**config, "attn_logit_softcapping": None, "final_logit_softcapping": None}
    found = shape_of(without, {**ENDS, **layers(ATTENTION, DENSE, more)})
    assert (found.eager, found.capped, found.caps_logits) == (True, False, False)


@pytest.mark.parametrize(
    ("norm", "normed", "norms"),
    [
        ({"self_attn.q_norm.weight": [16], "self_attn.k_norm.weight": [16]}, True, 2),
        # Normalisations of all heads together are as wide as the model, and not of the stream.
        ({"self_attn.q_norm.weight": [64], "self_attn.k_norm.weight": [64]}, True, 2),
        ({"self_attn.query_norm.weight": [16]}, True, 2),
        ({"self_attn.sub_norm.weight": [16]}, False, 2),
        ({"extra_layernorm.weight": [64]}, False, 3),
        ({"extra_layernorm.bias": [64]}, False, 2),
        ({"self_attn.scale.weight": [64]}, False, 2),
        ({"extra_layernorm.weight": [32]}, False, 2),
        ({"ln_3.weight": [64]}, False, 3),
    ],
)
def test_which_normalisations_keep_the_whole_width(shape_of, norm, normed, norms):
    found = shape_of(LLAMA, {**ENDS, **layers(ATTENTION, DENSE, norm)})
    assert (found.queries_normed, found.norms) == (normed, norms)


def test_a_model_that_sees_has_numbers_beside_its_language_part(shape_of):
    text = {
        **LLAMA,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_value_heads": 8,
        "linear_value_head_dim": 16,
    }
    linear = {"linear_attn.in_proj.weight": [96, 64], "linear_attn.norm.weight": [64]}
    vision = {
        "model.visual.blocks.0.attn.qkv.weight": [96, 32],
        "model.visual.norm.weight": [32],
        "mtp.layers.0.mlp.up_proj.weight": [INNER, 64],
    }
    tensors = {
        "model.language_model.embed_tokens.weight": [WORDS, 64],
        **layers(ATTENTION, DENSE, prefix="model.language_model.layers"),
        **layers(linear, prefix="model.language_model.layers", count=1),
        **vision,
    }
    config = {"model_type": "qwen3_5", "vocab_size": 7, "text_config": text}
    found = shape_of(config, tensors)
    assert found.vocabulary == WORDS
    assert found.beside == 96 * 32 + 32 + INNER * 64
    assert found.parameters == WORDS * 64 + 2 * OWN + 96 * 64 + 64
    assert (found.fixed_attention, found.fixed_heads, found.fixed_width) == (1, 8, 128)
    assert found.norms == 2
    # Seven products of two layers, and one of linear attention; none of what sees or drafts.
    assert len(found.linear) == 15


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": None},
        {"hidden_size": "wide"},
        {"num_hidden_layers": None},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": []},
        {"num_hidden_layers": -2},
        {"num_attention_heads": None},
        {"num_attention_heads": [4, 8]},
        {"head_dim": "half"},
        {"vocab_size": None},
        {"vocab_size": "many"},
        {"intermediate_size": "inner"},
        {"intermediate_size": [160, 320]},
        {"num_experts": "several"},
        {"num_key_value_heads": {}, "layer_types": 3},
    ],
)
def test_settings_that_do_not_tell_the_sizes_have_no_shape(tmp_path, change):
    # With a head's width, no division finds out that a number is missing.
    config = {**LLAMA, "head_dim": 16, **change}
    tensors = {**ENDS, **layers(ATTENTION, DENSE)}
    assert read_shape(write_headers(tmp_path, config, tensors)) is None


def test_an_endless_size_is_not_a_size(tmp_path):
    folder = write_headers(tmp_path, LLAMA, {**ENDS, **layers(ATTENTION, DENSE)})
    endless = json.dumps({**LLAMA, "hidden_size": "?"}).replace('"?"', "1e999")
    (folder / "config.json").write_text(endless)
    assert read_shape(folder) is None
