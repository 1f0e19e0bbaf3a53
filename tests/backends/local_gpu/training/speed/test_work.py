"""Arithmetic of a training, counted against torch's own counter."""

import peft
import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from backends.contract.speed import speed_words
from backends.local_gpu.tokens.chat_tokens import Encoded
from backends.local_gpu.training.batching import collate
from backends.local_gpu.training.loss import labelled_loss
from backends.local_gpu.training.speed.peaks import peak_flops
from backends.local_gpu.training.speed.work import work_of
from backends.local_gpu.training.tokenized_dataset import flatten

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

SIZES = {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}


def rows(count, length, labels):
    learned = [False] * (length - labels) + [True] * labels
    return flatten([Encoded(ids=list(range(length)), learned=learned)] * count)


@pytest.mark.parametrize(
    ("adapter", "length", "near"), [(False, 64, 1e-9), (True, 64, 0.05), (False, 512, 1e-9)]
)
def test_the_count_is_that_of_torch(adapter, length, near):
    """Torch counts all of attention's scores, of which causal attention needs half.

    With an adapter, the first layers have no gradients to pass on; that is counted all the same.
    """
    torch.manual_seed(0)
    config = transformers.Qwen3Config(**SIZES, attn_implementation="eager")
    model = transformers.Qwen3ForCausalLM(config)
    loss, tokens = labelled_loss(model), rows(3, length, 20)
    if adapter:
        config = peft.LoraConfig(r=8, target_modules="all-linear")
        peft.get_peft_model(model, config)
    with FlopCounterMode(display=False) as counter:
        loss.total(collate(tokens, range(3))).backward()
    scores = 3 * 3 * 4 * (2 * 2 * length**2 * 32) * 3
    expected = counter.get_total_flops() - scores / 2
    assert work_of(model, tokens) == pytest.approx(expected, rel=near)


def test_experts_count_as_often_as_they_are_chosen():
    def matrices(**changes):
        config = transformers.Qwen3MoeConfig(**SIZES | EXPERTS | changes)
        return work_of(transformers.Qwen3MoeForCausalLM(config), rows(1, 64, 20))

    one, two, four = (matrices(num_experts_per_tok=count) for count in (1, 2, 4))
    assert four - two == pytest.approx(2 * (two - one))
    assert two - one == pytest.approx(64 * 3 * 2 * 3 * 3 * 128 * 64)


def test_a_window_bounds_the_scores():
    def work(window):
        config = transformers.Gemma3TextConfig(**SIZES, sliding_window=window)
        return work_of(transformers.Gemma3ForCausalLM(config), rows(1, 512, 20))

    assert work(16) < work(256) < work(512) == work(1024)


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H200", 989.4),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40S", 362.05),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("Tesla T4", 65.0),
        ("Tesla V100-SXM2-16GB", 125.0),
    ],
)
def test_peaks_of_cards_are_known_by_their_names(name, tflops):
    assert peak_flops(name, torch.bfloat16) == tflops * 1e12


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("NVIDIA H200", torch.float32),
        ("NVIDIA GeForce GTX 1080", torch.float16),
        ("cpu", torch.bfloat16),
    ],
)
def test_what_is_not_known_is_not_claimed(name, dtype):
    assert peak_flops(name, dtype) is None


def test_speed_in_words():
    facts = {"tokens_per_s": 14123.4, "padding": 0.02, "tflops_per_s": 480.2, "mfu": 0.4853}
    assert speed_words(facts | {"attention": "varlen"}) == (
        "14,123 tokens/s, 2% padding, 480 TFLOP/s (49% of what the device can do), "
        "attention by varlen"
    )
    assert speed_words({"tokens_per_s": 812.0, "mfu": None, "tflops_per_s": 0.0123}) == (
        "812 tokens/s, 0.0123 TFLOP/s"
    )
    assert speed_words({"trained_tokens": 5}) == ""
