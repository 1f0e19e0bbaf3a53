"""Peak memory of one training step by the size of the vocabulary, as a ratio.

A random model of two layers learns 8,192 labelled tokens with LoRA, once with 10,000 words and once
with 150,000. The bytes of torch's allocator are counted, above the model's own weights.

    python tests/benchmarks/step_memory.py [--labels 8192] [--dtype float32]
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

sys.path.insert(0, str(Path(__file__).parents[2]))

from backends.local_gpu.training.batching import collate
from backends.local_gpu.training.loss import computing, labelled_loss
from backends.local_gpu.training.tokenized_dataset import Tokens
from tests.allocated import peak_of, resident

VOCABULARIES = 10_000, 150_000
GOAL = 1.10
ROWS = 8


def batch_of(labels, vocabulary):
    """Return a batch of long rows, of which every token but the first is learned."""
    length = labels // ROWS + 1
    random = np.random.default_rng(0)
    learned = np.ones(ROWS * length, dtype=bool)
    learned[::length] = False
    tokens = Tokens(
        ids=random.integers(0, vocabulary, ROWS * length, dtype=np.int32),
        learned=learned,
        offsets=np.arange(ROWS + 1, dtype=np.int64) * length,
    )
    return collate(tokens, range(ROWS))


def step_of(vocabulary, labels, dtype):
    """Return a function that makes one step, and its model."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        tie_word_embeddings=True,
    )
    model = Qwen3ForCausalLM(config)
    loss = labelled_loss(model)
    trained = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear")).train()
    learning = [one for one in trained.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=1e-3)
    batch = batch_of(labels, vocabulary)

    def step():
        with computing(torch.device("cpu"), dtype):
            total = loss.total(batch) / labels
        total.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step, trained


def main():
    """Print both peaks, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, default=8192)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    given = parser.parse_args()
    peaks, whole = [], []
    for vocabulary in VOCABULARIES:
        step, model = step_of(vocabulary, given.labels, getattr(torch, given.dtype))
        step()  # the optimiser makes its state in the first step
        began = time.monotonic()
        peaks.append(peak_of(step))
        whole.append(peaks[-1] + resident(model))
        print(
            f"vocabulary {vocabulary:>7,}: {peaks[-1] / 1e6:7.1f} MB in a step, "
            f"{whole[-1] / 1e6:7.1f} MB with weights, logits in one piece would be "
            f"{given.labels * vocabulary * 4 / 1e6:7.1f} MB; {time.monotonic() - began:.1f} s"
        )
        del step, model
    ratio = peaks[1] / peaks[0]
    print(f"ratio {ratio:.3f} (goal at most {GOAL:.2f}), with weights {whole[1] / whole[0]:.3f}")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
