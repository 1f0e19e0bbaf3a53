"""Bytes of full tuning and of checkpointed layers, counted by hand for one small model."""

import dataclasses

import pytest

from backends.local_gpu.hyperparameters import parse
from backends.local_gpu.memory.checkpointing import Checkpointing
from backends.local_gpu.memory.estimate import Batch, Plan, estimate
from backends.local_gpu.memory.shape import read_shape
from tests.backends.local_gpu.memory.headers import write_headers

CONFIG = {
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
ROWS, LENGTH = 4, 32
TOKENS = ROWS * LENGTH
FULL = {"finetuning_type": "full", "gradient_accumulation_steps": 2}


@pytest.fixture(scope="module")
def shape(tmp_path_factory):
    return read_shape(write_headers(tmp_path_factory.mktemp("bases") / "qwen3", CONFIG))


def need(shape, *, half=False, rows=ROWS, length=LENGTH, tile=1, **given):
    own = {key: given.pop(key) for key in ("checkpointing", "shards") if key in given}
    raw = given if given.get("finetuning_type") == "full" else {"r": 4, **given}
    plan = Plan(half=half, tile=tile, **own)
    return estimate(shape, parse("supervised", raw), Batch(rows=rows, length=length), plan)


def layer_of(width, *, full, length=LENGTH):
    """Return the bytes that a layer keeps of a token: its norms, inputs, attention and inner part."""
    normed = 8 if full else 4
    # Each product casts its own input: of six that read the stream, attention's output has another.
    inputs = (5 if full and width == 2 else 2) * 64 * width
    attention = 4 * 64 * width + 4 * 4 + length * width + (64 + 32) * normed
    adapter = 0 if full else 7 * 4 * width
    return 2 * 64 * normed + inputs + attention + 4 * 192 * width + adapter


def behind_of(width):
    """Return the bytes of the gradients within one layer, for a token."""
    return width * (64 + 2 * 192)


def ends_of(width, *, full):
    """Return the bytes of the last normalisation, for a token."""
    return 64 * ((8 if full else 4) + 2 * width)


@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("full", [False, True])
def test_everything_is_kept_without_checkpointing(shape, full, width):
    raw = FULL if full else {}
    found = need(shape, half=width == 2, **raw).activations
    per_token = 4 * layer_of(width, full=full) + ends_of(width, full=full) + behind_of(width)
    assert found == TOKENS * per_token


@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("full", [False, True])
def test_only_inputs_and_one_layer_are_kept_with_checkpointing(shape, full, width):
    raw = FULL if full else {}
    found = need(shape, half=width == 2, checkpointing=Checkpointing.ON, **raw).activations
    # The stream of an adapter in 16 bits has 16 bits; that of full tuning never has.
    stream = 2 if width == 2 and not full else 4
    per_token = 4 * 64 * stream + layer_of(width, full=full) + behind_of(width)
    assert found == TOKENS * per_token


@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("full", [False, True])
def test_narrow_products_and_attention_are_kept_by_selective_checkpointing(shape, full, width):
    raw = FULL if full else {}
    selective, on = (
        need(shape, half=width == 2, checkpointing=way, **raw).activations
        for way in (Checkpointing.SELECTIVE, Checkpointing.ON)
    )
    # Queries, keys, values, attention's output and that of the inner part; of three layers.
    kept = (64 + 2 * 32 + 64 + 64 + (0 if full else 7 * 4)) * width + 64 * width + 4 * 4
    assert selective - on == 3 * TOKENS * kept


@pytest.mark.parametrize("way", [Checkpointing.ON, Checkpointing.SELECTIVE])
def test_a_large_head_is_what_remains_while_no_layer_is_computed_again(shape, way):
    wide = dataclasses.replace(shape, vocabulary=10**6)
    tiles = [need(wide, checkpointing=way, tile=tile).activations for tile in (2**22, 2**23)]
    assert tiles[1] - tiles[0] == 12 * 2**22
    inputs = TOKENS * 4 * 64 * 4
    kept = 0
    if way is Checkpointing.SELECTIVE:
        # All layers' results wait beside the logits.
        kept = 4 * TOKENS * ((64 + 64 + 64 + 64 + 7 * 4) * 4 + 64 * 4 + 4 * 4)
    assert tiles[0] == inputs + kept + TOKENS * ends_of(4, full=False) + 12 * 2**22


@pytest.mark.parametrize(
    ("way", "last"),
    [
        # A quarter of what four layers, both ends and the last gradients take.
        (Checkpointing.OFF, None),
        (Checkpointing.ON, layer_of(4, full=True, length=1) + behind_of(4)),
        (Checkpointing.SELECTIVE, layer_of(4, full=True, length=1) + behind_of(4)),
    ],
)
def test_of_gradients_and_activations_the_larger_counts(shape, way, last):
    once = {"finetuning_type": "full", "checkpointing": way}
    small = need(shape, rows=1, length=1, **once)
    if last is None:
        last = (4 * layer_of(4, full=True, length=1) + ends_of(4, full=True) + behind_of(4)) // 4
    assert (small.gradients, small.activations) == (4 * shape.parameters, last)
    large = need(shape, rows=64, length=512, **once)
    twice = need(shape, rows=64, length=512, **once, gradient_accumulation_steps=2)
    assert (large.gradients, large.activations) == (0, twice.activations)
    assert twice.gradients == 4 * shape.parameters
    assert (small.adapter, large.adapter) == (0, 0)


def test_what_is_beside_the_layers_is_not_shared_while_it_is_used(shape):
    in_layers = 4 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 192 * 64)
    seeing = dataclasses.replace(shape, beside=4000)
    one, other = (need(kind, shards=4, **FULL) for kind in (shape, seeing))
    assert other.weights - one.weights == 4 * (4000 // 4 + 4000)
    assert other.gradients - one.gradients == 4 * (4000 // 4 + 4000)
    assert other.optimiser - one.optimiser == 8 * 4000 // 4
    experts = dataclasses.replace(
        shape, banks=(("down_proj", 80_000),), parameters=shape.parameters + 80_000
    )
    with_experts = need(experts, shards=4, **FULL)
    layer = (in_layers + 80_000) // 4
    outside = shape.parameters - in_layers
    assert with_experts.weights == 4 * (experts.parameters // 4 + 2 * layer + outside)
    assert with_experts.gradients == 4 * (experts.parameters // 4 + layer + outside)


@pytest.mark.parametrize("shards", [2, 3, 8])
def test_more_devices_never_need_more_of_each(shape, shards):
    fewer, more = (need(shape, shards=count, **FULL) for count in (shards, shards + 1))
    assert more.total < fewer.total
    assert more.activations == fewer.activations
    alone = need(shape, **FULL)
    assert fewer.optimiser == alone.optimiser // shards


def test_a_bias_in_32_bits_widens_what_follows_it_only_in_full_tuning(shape):
    oss = dataclasses.replace(shape, model_type="gpt_oss", experts=4, active=2)
    inner = 2 * (6 * 192 + 64)
    for raw, width, bytes_ in (({}, 2, 2), ({}, 4, 4), (FULL, 2, 4), (FULL, 4, 4)):
        full = bool(raw)
        other = layer_of(width, full=full) - 4 * 192 * width
        behind = width * (64 + 2 * 192 * 2)
        found = need(oss, half=width == 2, **raw).activations
        assert found == TOKENS * (4 * (other + inner * bytes_) + ends_of(width, full=full) + behind)


@pytest.mark.parametrize("half", [False, True])
def test_a_layer_norm_keeps_its_input_as_it_is(shape, half):
    width = 2 if half else 4
    other = dataclasses.replace(shape, layer_norms=True)
    for raw, normed in (({}, 4), (FULL, 8)):
        less = need(shape, half=half, **raw).activations - need(other, half=half, **raw).activations
        assert less == 4 * TOKENS * 2 * 64 * (normed - width)


def test_linear_attention_keeps_chunks_and_states(shape):
    fixed = dataclasses.replace(shape, fixed_attention=4, fixed_heads=8, fixed_width=128)
    attention = 4 * 64 * 4 + 4 * 4 + LENGTH * 4 + (64 + 32) * 4
    linear = 4 * (5 * 8 * 64 + 28 * 128)
    more = need(fixed).activations - need(shape).activations
    assert more == 4 * TOKENS * (linear - attention)
    # Half of the layers, half of the difference; and selective checkpointing keeps none of it.
    mixed = dataclasses.replace(fixed, fixed_attention=2)
    assert need(mixed).activations - need(shape).activations == more // 2
    way = Checkpointing.SELECTIVE
    kept = [
        need(one, checkpointing=way).activations
        - need(one, checkpointing=Checkpointing.ON).activations
        for one in (shape, mixed, fixed)
    ]
    assert kept[0] - kept[1] == kept[1] - kept[2] == 3 * TOKENS * (64 * 4 + 4 * 4) // 2
