"""Estimates of the memory of a training beside what torch's allocator counted, as a table.

A random model of four layers of each architecture makes one step on a padded batch, after a first
step in which the optimiser makes its state. The estimate comes from the model's files alone.

    python tests/benchmarks/memory_estimates.py [--only llama gpt2] [--ways lora-float32 full-float32]
"""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[2]))

from backends.local_gpu.hyperparameters import parse
from backends.local_gpu.memory.checkpointing import ways
from backends.local_gpu.memory.estimate import Batch, Plan, estimate
from backends.local_gpu.memory.shape import read_shape
from backends.local_gpu.memory.tile_size import ELEMENTS_ELSE
from backends.local_gpu.models.adapters import add_adapter, share_inputs
from backends.local_gpu.models.model_folders import load_model
from backends.local_gpu.models.targets.problems import choice_problems
from backends.local_gpu.models.targets.selection import chooses_more
from backends.local_gpu.training.batching import collate
from backends.local_gpu.training.checkpoints import TrainingState
from backends.local_gpu.training.ending.stopping import FILE, early_stopping_of
from backends.local_gpu.training.loss import computing, labelled_loss
from backends.local_gpu.training.parallel.parallel import Parallel
from backends.local_gpu.training.start.checkpointing import checkpoint_layers
from backends.local_gpu.training.tokenized_dataset import Tokens
from tests.allocated import peak_of, resident

GOAL = 0.15
ROWS, LENGTH = 8, 96
SIZES = {
    "vocab_size": 2000,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GATED_DELTA = {
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "linear_num_value_heads": 8,
    "linear_num_key_heads": 4,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
}
SEES = {"hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "depth": 1}
PATCHES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
MODELS = {
    "llama": ("Llama", SIZES),
    "qwen2": ("Qwen2", SIZES),
    "qwen3": ("Qwen3", SIZES | {"head_dim": 32}),
    "qwen3-moe": (
        "Qwen3Moe",
        SIZES
        | {"head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2}
        | {"moe_intermediate_size": 352, "decoder_sparse_step": 1, "mlp_only_layers": []},
    ),
    "mistral": ("Mistral", SIZES | {"sliding_window": None}),
    "gemma2": ("Gemma2", SIZES | {"head_dim": 32}),
    "gemma3": ("Gemma3", SIZES | {"head_dim": 32, "sliding_window": 64}),
    "phi3": ("Phi3", SIZES | IDS),
    "gemma3-vision": (
        "Gemma3Vision",
        {"text": SIZES | {"head_dim": 32, "sliding_window": 64}, "vision": PATCHES},
    ),
    "mixtral": (
        "Mixtral",
        SIZES | IDS | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    ),
    "gpt-oss": (
        "GptOss",
        SIZES
        | IDS
        | {"head_dim": 32, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 64},
    ),
    "olmo2": ("Olmo2", SIZES | IDS),
    "glm4": ("Glm4", SIZES | IDS | {"head_dim": 32}),
    "exaone4": ("Exaone4", SIZES | {"sliding_window": 64, "sliding_window_pattern": 2}),
    "granite": ("Granite", SIZES | {"logits_scaling": 8.0, "embedding_multiplier": 12.0}),
    "smollm3": ("SmolLM3", SIZES | IDS),
    "gpt2": (
        "GPT2",
        {"vocab_size": 2000, "n_embd": 256, "n_layer": 4, "n_head": 8}
        | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    ),
    "qwen3.5": ("Qwen3_5", {"text": SIZES | {"head_dim": 32} | GATED_DELTA, "vision": SEES}),
}
SPECIAL = {
    "Gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
    "Gemma3Vision": ("Gemma3Config", "Gemma3ForConditionalGeneration"),
    "GPT2": ("GPT2Config", "GPT2LMHeadModel"),
    "Qwen3_5": ("Qwen3_5Config", "Qwen3_5ForConditionalGeneration"),
}
WAYS = {
    "lora-float32": {},
    "lora-bfloat16": {"dtype": "bfloat16"},
    "lora-checkpointing": {"gradient_checkpointing": "on"},
    "bfloat16-checkpointing": {"dtype": "bfloat16", "gradient_checkpointing": "on"},
    "qlora-checkpointing": {
        "dtype": "bfloat16",
        "quantization": "nf4",
        "gradient_checkpointing": "on",
    },
    "full-checkpointing": {"finetuning_type": "full", "gradient_checkpointing": "on"},
    "lora-selective": {"gradient_checkpointing": "selective"},
    "bfloat16-selective": {"dtype": "bfloat16", "gradient_checkpointing": "selective"},
    "qlora-selective": {
        "dtype": "bfloat16",
        "quantization": "nf4",
        "gradient_checkpointing": "selective",
    },
    "full-selective": {"finetuning_type": "full", "gradient_checkpointing": "selective"},
    "qlora-bfloat16": {"dtype": "bfloat16", "quantization": "nf4"},
    "dora-float32": {"use_dora": True},
    "full-float32": {"finetuning_type": "full"},
    "full-bfloat16": {"finetuning_type": "full", "dtype": "bfloat16"},
    "lora-stopping": {"early_stopping": {"patience": 3}},
    "full-stopping": {"finetuning_type": "full", "early_stopping": {"patience": 3}},
    "lora-whole": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "lora-experts": {"target_parameters": ["experts.gate_up_proj", "experts.down_proj"]},
}


def write_model(name, folder):
    """Write a random model of an architecture."""
    kind, sizes = MODELS[name]
    config, model = SPECIAL.get(kind, (f"{kind}Config", f"{kind}ForCausalLM"))
    if "text" in sizes:
        vision = sizes["vision"] | {"out_hidden_size": sizes["text"]["hidden_size"]}
        images = {"mm_tokens_per_image": 4, "image_token_index": 1999}
        images |= {"boi_token_index": 1998, "eoi_token_index": 1997}
        sizes = {"text_config": sizes["text"], "vision_config": vision}
        sizes |= images if kind == "Gemma3Vision" else {}
    torch.manual_seed(0)
    made = getattr(transformers, model)(getattr(transformers, config)(**sizes))
    made.save_pretrained(folder)


def batch():
    """Return a batch whose rows have almost the same length."""
    lengths = [LENGTH - row % 3 for row in range(ROWS)]
    tokens = Tokens(
        ids=np.random.default_rng(0).integers(3, 2000, sum(lengths), dtype=np.int32),
        learned=np.ones(sum(lengths), dtype=bool),
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
    )
    return collate(tokens, range(ROWS))


def chosen(settings):
    """Return the checkpointing of a training that fits."""
    return ways(settings.get("gradient_checkpointing", "auto"))[0]


def measured(folder, settings):
    """Return the most bytes that torch's allocator held in a step, weights included."""
    where = torch.device("cpu")
    dtype = torch.bfloat16 if settings["dtype"] == "bfloat16" else torch.float32
    full = settings["finetuning_type"] == "full"
    quantization = settings.get("quantization")
    model = load_model(folder, torch.float32 if full else dtype, where, quantization)
    loss = labelled_loss(model)
    trained = model if full else add_adapter(model, settings)
    if dtype != torch.float32:
        share_inputs(trained)
    trained.train()
    checkpoint_layers(model, chosen(settings))
    learning = [one for one in trained.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=1e-4, fused=True)
    inputs = batch()

    def step():
        with computing(where, dtype):
            total = loss.total(inputs) / ROWS
        total.backward()
        optimiser.step()
        optimiser.zero_grad()

    step()
    best = early_stopping_of(settings, trained, TrainingState("", 1), Parallel())
    if best is not None:
        best.judge(1, 1.0, {})
    state = sum(
        one.numel() * one.element_size()
        for kept in optimiser.state.values()
        for one in kept.values()
    )
    kept = 0
    if best is not None:
        best.save(folder)
        kept = (folder / FILE).stat().st_size
        (folder / FILE).unlink()
    return resident(trained) + state + kept + peak_of(step)


def compared(folder, shape, way):
    """Return the estimated and the measured bytes of a way to train; None where it is refused."""
    settings = parse("supervised", WAYS[way]) | {"recipe": 2}
    if shape.joined and "use_dora" in WAYS[way]:
        return None
    if chooses_more(settings) and choice_problems(shape.stored, settings):
        return None
    plan = Plan(
        half=settings["dtype"] == "bfloat16",
        tile=ELEMENTS_ELSE,
        checkpointing=chosen(settings),
        on_host=True,
    )
    expected = estimate(shape, settings, Batch(rows=ROWS, length=LENGTH), plan).total
    return expected, measured(folder, settings)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    print(f"{'model':12}" + "".join(f"{way:>28}" for way in given.ways))
    worst = 0.0
    for name in given.only:
        cells = []
        with tempfile.TemporaryDirectory() as folder:
            write_model(name, Path(folder))
            shape = read_shape(Path(folder))
            for way in given.ways:
                cell = compared(Path(folder), shape, way)
                if cell is None:
                    cells.append("refused")
                    continue
                expected, found = cell
                off = expected / found - 1
                worst = max(worst, abs(off))
                cells.append(f"{expected / 1e6:6.1f} of {found / 1e6:6.1f} MB {off:+7.1%}")
        print(f"{name:12}" + "".join(f"{cell:>28}" for cell in cells), flush=True)
    print(f"largest error {worst:.1%} (goal at most {GOAL:.0%})")
    return 0 if worst <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
