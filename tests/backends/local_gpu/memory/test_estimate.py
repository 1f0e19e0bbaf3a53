"""Bytes of a training: laws that hold for every model and batch, and terms counted by hand."""

import dataclasses
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.local_gpu.hyperparameters import parse
from backends.local_gpu.memory.checkpointing import Checkpointing, keeps_product, ways
from backends.local_gpu.memory.estimate import Batch, Need, Plan, estimate
from backends.local_gpu.memory.shape import read_shape
from tests.backends.local_gpu.memory.headers import tensors_of, write_headers

QWEN3 = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 192,
    "hidden_act": "silu",
    "vocab_size": 1000,
}
EXPERTS = {"model_type": "gpt_oss", "num_local_experts": 4, "num_experts_per_tok": 2}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "linear_num_value_heads": 4,
    "linear_value_head_dim": 16,
}
IN_LAYERS = 4 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 192 * 64)
"""Numbers of the products of all layers."""


def with_experts():
    kept = {name: size for name, size in tensors_of(QWEN3).items() if ".mlp." not in name}
    for layer in range(4):
        prefix = f"model.layers.{layer}.mlp"
        kept |= {
            f"{prefix}.router.weight": [4, 64],
            f"{prefix}.experts.gate_up_proj": [4, 64, 2 * 192],
            f"{prefix}.experts.down_proj": [4, 192, 64],
        }
    return kept


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Models of different kinds by name."""
    root = tmp_path_factory.mktemp("shapes")
    models = {
        "plain": (QWEN3, None),
        "experts": (QWEN3 | EXPERTS, with_experts()),
        "linear": (QWEN3 | LINEAR, None),
        "capped": (QWEN3 | {"model_type": "gemma2", "attn_logit_softcapping": 50.0}, None),
        "layer-norm": (QWEN3 | {"layer_norm_epsilon": 1e-5, "hidden_act": "gelu_new"}, None),
    }
    return {
        name: read_shape(write_headers(root / name, config, tensors))
        for name, (config, tensors) in models.items()
    }


@pytest.fixture(scope="module")
def plain(shapes):
    return shapes["plain"]


def need(shape, rows=4, length=32, *, method="supervised", half=False, tile=2**30, **given_):
    """Return what a training needs; settings and the fields of a `Plan` by name."""
    own = {key: given_.pop(key) for key in ("checkpointing", "shards", "on_host") if key in given_}
    raw = {"r": 4, **given_} if given_.get("finetuning_type") != "full" else given_
    plan = Plan(half=half, tile=tile, **own)
    return estimate(shape, parse(method, raw), Batch(rows=rows, length=length), plan)


FULL = {"finetuning_type": "full"}
EVERY = [
    {},
    {"half": True},
    {"quantization": "nf4", "half": True},
    {"use_dora": True},
    {"lora_dropout": 0.1},
    {"optim": "adamw_8bit"},
    {"modules_to_save": ["lm_head"]},
    FULL,
    FULL | {"half": True},
    FULL | {"gradient_accumulation_steps": 2},
    FULL | {"early_stopping": {"patience": 1}, "on_host": True},
]


@pytest.mark.parametrize("kind", ["plain", "experts", "linear", "capped", "layer-norm"])
@pytest.mark.parametrize("way", list(Checkpointing))
@settings(max_examples=20, deadline=None)
@given(
    raw=st.sampled_from(EVERY),
    sizes=st.tuples(st.integers(1, 64), st.integers(1, 4096)),
    more=st.integers(1, 512),
)
def test_more_rows_and_longer_rows_need_more(shapes, kind, way, raw, sizes, more):
    shape, (rows, length) = shapes[kind], sizes
    one = need(shape, rows, length, checkpointing=way, **raw)
    others = [
        need(shape, rows + more, length, checkpointing=way, **raw),
        need(shape, rows, length + more, checkpointing=way, **raw),
    ]
    parts = dataclasses.asdict(one)
    assert one.total == sum(parts.values())
    assert all(isinstance(value, int) and value >= 0 for value in parts.values())
    for other in others:
        # Gradients of full tuning come while activations go: the larger of both counts.
        assert other.total >= one.total
        assert other.activations + other.gradients > one.activations
        fixed = ("weights", "adapter", "optimiser", "best")
        assert [getattr(other, name) for name in fixed] == [getattr(one, name) for name in fixed]


@pytest.mark.parametrize("kind", ["plain", "experts", "linear", "capped", "layer-norm"])
@pytest.mark.parametrize("raw", EVERY)
def test_each_kind_of_checkpointing_needs_less_than_the_one_before(shapes, kind, raw):
    found = [need(shapes[kind], 64, 128, checkpointing=way, **raw) for way in ways("auto")]
    assert all(slower.activations < faster.activations for faster, slower in pairwise(found))
    assert len({one.weights for one in found}) == 1


@settings(deadline=None)
@given(r=st.integers(1, 512), more=st.integers(1, 64))
def test_an_adapter_grows_with_its_rank(plain, r, more):
    # Widths of input and output of the seven products of a layer.
    widths = 4 * (2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 192))
    one, other = need(plain, r=r), need(plain, r=r + more)
    assert (one.adapter, one.gradients) == (4 * r * widths,) * 2
    assert one.optimiser == 8 * r * widths
    # Beside it, each token keeps what the first matrix gives.
    assert other.activations - one.activations == more * 7 * 4 * 4 * (4 * 32)


def test_weights_by_what_is_trained_and_how_they_are_kept(plain):
    numbers = plain.parameters
    assert need(plain).weights == 4 * numbers
    assert need(plain, half=True).weights == 2 * numbers
    quantised = need(plain, half=True, quantization="nf4").weights
    # Half a byte, and a byte of scale for 64; what is outside the layers stays as it is.
    assert quantised == IN_LAYERS // 2 + IN_LAYERS // 64 + 2 * (numbers - IN_LAYERS)
    assert need(plain, **FULL).weights == 4 * numbers
    # Products are cast for a step, and the weights themselves stay.
    assert need(plain, half=True, **FULL).weights == 4 * numbers + 2 * IN_LAYERS


def test_experts_are_cast_with_the_other_products(shapes):
    shape = shapes["experts"]
    in_layers = 4 * (2 * 64 * 64 + 2 * 32 * 64)
    banks = 4 * 4 * 3 * 64 * 192
    assert need(shape, half=True, **FULL).weights == 4 * shape.parameters + 2 * (in_layers + banks)
    # In four bits are the layers that a library knows as such; experts in one tensor are not.
    assert need(shape, half=True, quantization="nf4").weights == (
        int((0.5 + 1 / 64) * in_layers) + 2 * (shape.parameters - in_layers)
    )


def test_vision_counts_in_weights_and_in_full_tuning(plain):
    seeing = dataclasses.replace(plain, beside=5000)
    assert need(seeing).weights - need(plain).weights == 4 * 5000
    assert need(seeing).optimiser == need(plain).optimiser
    assert need(seeing, **FULL).optimiser - need(plain, **FULL).optimiser == 8 * 5000


@pytest.mark.parametrize("raw", [{}, FULL])
def test_an_optimiser_of_8_bits_keeps_a_quarter(plain, raw):
    whole, small = (need(plain, optim=one, **raw).optimiser for one in ("adamw", "adamw_8bit"))
    assert small == int(2.03 * (whole // 8))
    assert whole == 8 * (plain.parameters if raw else need(plain).adapter // 4)


@pytest.mark.parametrize("raw", [{}, FULL])
def test_the_best_weights_are_kept_only_where_early_stopping_may_need_them(plain, raw):
    trained = plain.parameters if raw else need(plain).adapter // 4
    stops = {"early_stopping": {"patience": 1}, **raw}
    assert need(plain, on_host=True, **stops).best == 4 * trained
    assert need(plain, on_host=True, **raw).best == 0
    assert need(plain, on_host=False, **stops).best == 0


def test_gradients_wait_for_the_second_batch_of_a_step(plain):
    once, twice = (need(plain, gradient_accumulation_steps=n, **FULL) for n in (1, 2))
    assert twice.gradients == 4 * plain.parameters
    assert once.total < twice.total
    assert once.gradients + once.activations < twice.gradients + twice.activations
    # With little to compute, the gradients are what remains, beside the last layer.
    small = need(plain, 1, 1, **FULL)
    assert small.gradients == 4 * plain.parameters
    assert (
        small.activations
        == need(plain, 1, 1, gradient_accumulation_steps=2, **FULL).activations // 4
    )
    # An adapter's gradients are small beside what is computed: both are counted.
    assert need(plain, gradient_accumulation_steps=1) == need(plain, gradient_accumulation_steps=2)


def test_logits_are_made_in_tiles(plain):
    # 128 tokens of 1,000 words are more than the tile: a logit, its logarithm and its gradient.
    found = [
        need(plain, checkpointing=Checkpointing.ON, tile=tile) for tile in (2**16, 2**17, 2**20)
    ]
    assert found[1].activations > found[0].activations
    wide = dataclasses.replace(plain, vocabulary=10**6)
    large = [need(wide, tile=tile).activations for tile in (2**24, 2**25)]
    assert large[1] - large[0] == 12 * 2**24
    capped = dataclasses.replace(wide, caps_logits=True)
    assert need(capped, tile=2**24).activations - large[0] == 4 * 2**24
    halves = [need(one, tile=2**24, half=True).activations for one in (wide, capped)]
    assert halves[0] == halves[1]


TOKENS = 4 * 32


@pytest.mark.parametrize(
    ("raw", "per_token"),
    [
        # What each layer and its adapter give, to learn the lengths: both of a product's width.
        ({"use_dora": True}, 2 * (2 * 64 + 2 * 32 + 2 * 192 + 64)),
        # What is left of each input, and which numbers were dropped.
        ({"lora_dropout": 0.5}, 2 * (6 * 64 + 192)),
        ({"use_dora": True, "lora_dropout": 0.5}, 2 * (640 + 576)),
        ({"target_modules": ["q_proj"]}, -6 * 4),
        ({"target_modules": ["q_proj"], "use_dora": True}, 2 * 64 - 6 * 4),
    ],
)
def test_what_an_adapter_keeps_of_each_token(plain, raw, per_token):
    for width, half in ((4, False), (2, True)):
        more = need(plain, half=half, **raw).activations - need(plain, half=half).activations
        assert more == 4 * TOKENS * width * per_token


def test_what_a_layer_keeps_of_each_token_in_float32(plain):
    """Two norms, two inputs, attention with its own norms, and the five of a gated part."""
    norms, inputs = 2 * 64, 2 * 64
    attention = 4 * 64 + 4 + (64 + 32)
    kept = norms + inputs + attention + 4 * 192 + 7 * 4
    ends = 64 * (1 + 2)
    behind = 64 + 2 * 192
    for length in (32, 48):
        # Padding needs a mask of the row's length.
        layers = 4 * (kept + length)
        # The logits of a small tile need less than the last layer, backwards.
        found = need(plain, 4, length, tile=1).activations
        assert found == 4 * 4 * length * (layers + ends + behind)


def test_a_simple_activation_keeps_less_and_a_gate_more(plain):
    kinds = {
        (True, True): 4,
        (True, False): 4,
        (False, True): 2,
        (False, False): 5,
    }
    found = {
        kind: need(dataclasses.replace(plain, gated=kind[0], simple=kind[1]), tile=1).activations
        for kind in kinds
    }
    least = found[False, True]
    for kind, kept in kinds.items():
        assert found[kind] - least == 4 * TOKENS * 4 * 192 * (kept - 2)


def test_attention_without_a_kernel_keeps_its_probabilities(plain, shapes):
    eager = dataclasses.replace(plain, eager=True)
    assert need(eager).activations - need(plain).activations == 4 * TOKENS * 4 * (4 * 32)
    # In 16 bits: once in 32 bits, and once more as what is multiplied.
    halves = [need(one, half=True).activations for one in (eager, plain)]
    assert halves[0] - halves[1] == 4 * TOKENS * 6 * (4 * 32)
    capped = dataclasses.replace(eager, capped=True)
    assert need(capped).activations - need(eager).activations == 4 * TOKENS * 4 * (4 * 32)
    assert need(shapes["capped"]).activations == need(capped).activations
    # It grows with the square of the length, and a kernel does not.
    long = need(eager, 1, 2048).activations - need(plain, 1, 2048).activations
    assert long == 4 * 4 * 4 * 2048**2


def test_experts_keep_what_each_of_them_was_given(plain):
    moe = dataclasses.replace(plain, experts=4, active=2, shared=96)
    kept = 2 * (4 * 192 + 2 * 64) + 4 * 96
    # And backwards, each of the two has its gradients.
    more = 4 * (kept - 4 * 192) + 2 * 192
    assert need(moe, tile=1).activations - need(plain, tile=1).activations == TOKENS * 4 * more


def test_an_adapter_on_experts_keeps_their_summed_weights(shapes):
    shape = shapes["experts"]
    names = ["experts.gate_up_proj", "experts.down_proj"]
    one, other = need(shape, target_parameters=names), need(shape)
    banks = 4 * 4 * 3 * 64 * 192
    assert one.activations - other.activations == 4 * banks
    assert one.adapter - other.adapter == 4 * 4 * 4 * 4 * ((64 + 384) + (192 + 64))
    assert need(shape, **FULL).activations > 0


def test_the_largest_of_different_layers_is_computed_again(shapes, plain):
    on = {"checkpointing": Checkpointing.ON}
    mixed, length = shapes["linear"], 32
    only = dataclasses.replace(mixed, fixed_attention=4)
    largest = max(need(one, 4, length, **on).activations for one in (plain, only))
    assert need(mixed, 4, length, **on).activations == largest
    assert need(only, 4, length, **on).activations != need(plain, 4, length, **on).activations


@pytest.mark.parametrize(
    ("into", "out", "kept"), [(64, 64, True), (64, 63, True), (64, 65, False), (192, 64, True)]
)
def test_selective_checkpointing_keeps_what_is_no_wider_than_its_input(into, out, kept):
    assert keeps_product(into, out) == kept


def test_ways_are_tried_from_the_fastest_on():
    assert ways("auto") == (Checkpointing.OFF, Checkpointing.SELECTIVE, Checkpointing.ON)
    assert [ways(str(way)) for way in Checkpointing] == [(way,) for way in Checkpointing]
    assert [way.words for way in Checkpointing] == [
        *("", "selective gradient checkpointing", "gradient checkpointing")
    ]
    with pytest.raises(ValueError, match="sometimes"):
        ways("sometimes")


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("way", list(Checkpointing))
def test_devices_share_weights_gradients_and_moments(plain, half, way):
    layer, numbers = IN_LAYERS // 4, plain.parameters
    outside = numbers - IN_LAYERS
    cast = (IN_LAYERS if way is Checkpointing.OFF else layer) if half else 0
    for shards in (2, 8):
        found = need(plain, half=half, shards=shards, checkpointing=way, **FULL)
        alone = need(plain, half=half, checkpointing=way, gradient_accumulation_steps=2, **FULL)
        assert found == Need(
            # One layer computes while the next is gathered.
            weights=4 * (numbers // shards + 2 * layer + outside) + 2 * cast,
            adapter=0,
            gradients=4 * (numbers // shards + layer + outside),
            optimiser=8 * numbers // shards,
            activations=alone.activations,
        )
