"""Gradient checkpointing of a model's layers: what is kept, and that nothing else changes."""

from collections import Counter
from importlib import import_module

import pytest

from backends.local_gpu.memory.checkpointing import Checkpointing, ways
from tests.allocated import peak_of

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]
SIZES = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16}
MODELS = {
    "llama": ("LlamaConfig", SIZES),
    # Casts of weights that are used by two batches.
    "gpt2": ("GPT2Config", {"vocab_size": 100, "n_embd": 64, "n_layer": 3, "n_head": 4}),
    # Its experts add their biases in place.
    "gpt-oss": ("GptOssConfig", SIZES | EXPERTS),
    # What is dropped is drawn again as it was.
    "dropping": ("LlamaConfig", SIZES | {"attention_dropout": 0.3}),
}


@pytest.fixture
def learned():
    """Return a function that backpropagates two batches, and returns their loss and gradients."""
    torch, transformers = import_module("torch"), import_module("transformers")
    checkpointing = import_module("backends.local_gpu.training.start.checkpointing")

    def learn(name, way, dtype="float32"):
        kind, sizes = MODELS[name]
        torch.manual_seed(0)
        config = getattr(transformers, kind)(**sizes)
        model = transformers.AutoModelForCausalLM.from_config(config).train()
        checkpointing.checkpoint_layers(model, way)
        ids = torch.arange(96).view(4, 24)
        enabled = dtype != "float32"
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            # Two batches within one context share the casts of the weights.
            sums = [
                model(one, use_cache=False).logits.float().square().mean()
                for one in (ids, -ids % 97)
            ]
        loss = sums[0] + sums[1]
        loss.backward()
        gradients = {key: one.grad for key, one in model.named_parameters()}
        return loss.detach(), gradients

    return learn


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_neither_a_loss_nor_a_gradient_changes_by_a_bit(learned, name, dtype):
    torch = import_module("torch")
    loss, gradients = learned(name, Checkpointing.OFF, dtype)
    assert sum(one is not None for one in gradients.values()) > 20
    for way in (Checkpointing.SELECTIVE, Checkpointing.ON):
        again, others = learned(name, way, dtype)
        assert torch.equal(loss, again)
        for key, one in gradients.items():
            assert torch.equal(one, others[key]), (way, key)


@pytest.fixture
def computed():
    """Return a function from a kind of checkpointing to what backpropagation computes, by name."""
    torch, transformers = import_module("torch"), import_module("transformers")
    checkpointing = import_module("backends.local_gpu.training.start.checkpointing")
    modes = import_module("torch.utils._python_dispatch")

    class Counting(modes.TorchDispatchMode):
        """Counts what gets through the contexts of checkpointing."""

        def __init__(self):
            super().__init__()
            self.counts = Counter()

        def __torch_dispatch__(self, operation, types, given=(), named=None):
            self.counts[operation.name()] += 1
            return operation(*given, **(named or {}))

    def count(way):
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)).train()
        checkpointing.checkpoint_layers(model, way)
        loss = model(torch.arange(48).view(2, 24), use_cache=False).logits.mean()
        with Counting() as counting:
            loss.backward()
        return counting.counts

    return count


def test_what_is_kept_is_not_computed_again(computed):
    off, selective, on = (computed(way) for way in Checkpointing)
    layers = SIZES["num_hidden_layers"]
    kernel = "aten::_scaled_dot_product_flash_attention_for_cpu"
    assert (off[kernel], selective[kernel], on[kernel]) == (0, 0, layers)
    # Of queries, keys, values, the result of attention, and three products of the feed-forward
    # part, two are wider than their input. Nothing needs the last one again.
    products = [one["aten::mm"] - off["aten::mm"] for one in (selective, on)]
    assert products == [2 * layers, 6 * layers]
    assert (off["aten::silu"], selective["aten::silu"], on["aten::silu"]) == (0, layers, layers)


def test_selective_checkpointing_is_between_all_and_nothing():
    torch, transformers = import_module("torch"), import_module("transformers")
    module = import_module("backends.local_gpu.training.start.checkpointing")
    peaks = []
    for way in Checkpointing:
        config = transformers.LlamaConfig(**SIZES | {"num_hidden_layers": 24})
        model = transformers.LlamaForCausalLM(config).train()
        module.checkpoint_layers(model, way)
        for weights in model.parameters():
            weights.requires_grad_(requires_grad=False)
        model.get_input_embeddings().weight.requires_grad_()
        ids = torch.arange(512).view(8, 64) % 100

        def step(model=model, ids=ids):
            model(ids, use_cache=False).logits.mean().backward()

        step()
        peaks.append(peak_of(step))
    whole, selective, least = peaks
    assert 1.5 * least < selective < 0.6 * whole


def test_products_with_weights_in_four_bits_are_kept_by_the_same_rule():
    module = import_module("backends.local_gpu.training.start.checkpointing")
    for size, kept in (([64, 160], True), ([64, 64], True), ([160, 64], False)):
        assert module.is_kept("bitsandbytes::gemm_4bit", (None, None, size)) is kept


def test_attention_that_drops_scores_is_computed_again():
    torch = import_module("torch")
    module = import_module("backends.local_gpu.training.start.checkpointing")
    one = torch.zeros(1)
    for name, before in (("flash", 3), ("efficient", 5), ("cudnn", 5)):
        kernel = f"aten::_scaled_dot_product_{name}_attention"
        assert module.is_kept(kernel, (one,) * 3)
        given = (one, one, one, None, True)[:before]
        assert module.is_kept(kernel, (*given, 0.0, True))
        assert not module.is_kept(kernel, (*given, 0.1, True))
    assert module.is_kept("torch_attn::_varlen_attn", (one,) * 5)
    assert not module.is_kept("aten::silu", (one,))


def test_what_people_wrote_is_what_is_tried():
    assert ways("auto") == (Checkpointing.OFF, Checkpointing.SELECTIVE, Checkpointing.ON)
    assert ways("selective") == (Checkpointing.SELECTIVE,)
    with pytest.raises(ValueError, match="some"):
        ways("some")
