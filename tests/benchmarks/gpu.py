"""Training of large models on one GPU through ftctl, and through plain Trainer and PEFT.

    python tests/benchmarks/gpu.py           the shapes of Llama 3.1 8B and Qwen2.5 1.5B, 8 minutes
    python tests/benchmarks/gpu.py --tiny    tiny shapes, also on a CPU

Needs no network: the weights are random and made on the device, and so are the examples, whose
lengths are mixed as in chats. Every case runs in a process of its own for a fixed time. Tokens are
those of examples; padding does not count. `MFU` is the share of the device's arithmetic limit that
the examples need, without what padding and checkpointing add.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Trainer, TrainingArguments

from backends.local_gpu import hyperparameters, recipes
from backends.local_gpu.jobs.run_dir import RunDir
from backends.local_gpu.models.adapters import add_adapter
from backends.local_gpu.tokens.chat_tokens import Encoded
from backends.local_gpu.training.arguments import training_arguments
from backends.local_gpu.training.batching import Batches, collate, pack
from backends.local_gpu.training.checkpoints import TrainingState
from backends.local_gpu.training.loss import computing, labelled_loss
from backends.local_gpu.training.objectives.likelihood import Likelihood, Sequences
from backends.local_gpu.training.packing.documents import sent
from backends.local_gpu.training.packing.fill import budget_of
from backends.local_gpu.training.packing.self_check import attention_of, start_packing
from backends.local_gpu.training.speed.peaks import peak_flops
from backends.local_gpu.training.speed.work import work_of
from backends.local_gpu.training.tokenized_dataset import Tokens, flatten
from backends.local_gpu.training.trainer import LabelledTrainer

TOTAL_S = 470
"""Seconds after which no further case begins."""
CASE_S = 18
"""Seconds of a case that are measured, after the first steps."""
WARM_STEPS = 3
SHARE_LEARNED = 0.4


@dataclass(frozen=True)
class Shape:
    """A model's shape, and the batches that fit."""

    config: Any
    budget: int
    """Most tokens of a batch through ftctl."""
    rows: int
    """Rows of a batch through plain Trainer."""
    longest: int
    goal: int | None = None
    """Tokens per second to reach on an H200 by LoRA."""


LLAMA_8B = LlamaConfig(
    vocab_size=128256,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    max_position_embeddings=8192,
)
QWEN_1_5B = Qwen2Config(
    vocab_size=151936,
    hidden_size=1536,
    intermediate_size=8960,
    num_hidden_layers=28,
    num_attention_heads=12,
    num_key_value_heads=2,
    max_position_embeddings=8192,
    tie_word_embeddings=True,
)
TINY = {
    "vocab_size": 2048,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
SHAPES = {
    "8B": Shape(LLAMA_8B, budget=8192, rows=4, longest=2048, goal=14_000),
    "1.5B": Shape(QWEN_1_5B, budget=16384, rows=8, longest=2048, goal=60_000),
}
TINY_SHAPES = {
    "8B": Shape(LlamaConfig(**TINY), budget=2048, rows=4, longest=512),
    "1.5B": Shape(Qwen2Config(**TINY, tie_word_embeddings=True), 2048, rows=8, longest=512),
}
WAYS = {
    "plain Trainer + PEFT": "LoRA, padded",
    "LoRA padded": "token budget, length groups",
    "LoRA packed": "token budget, packed",
    "LoRA packed + checkpointing": "the same, activations computed twice",
    "plain Trainer, full": "all weights, padded",
    "full packed": "all weights, packed",
}
CASES = [
    *(("1.5B", way) for way in WAYS),
    *(("8B", way) for way in WAYS if "full" not in way),
]


def main() -> None:
    """Run all cases and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--tiny", action="store_true", help="tiny shapes, also on a CPU")
    arguments.add_argument("--case", nargs=2, metavar=("SHAPE", "WAY"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.case is not None:
        shape, way = given.case
        print(
            json.dumps(
                measured((TINY_SHAPES if given.tiny else SHAPES)[shape], way, tiny=given.tiny)
            )
        )
        return
    where = device()
    if where.type == "cpu" and not given.tiny:
        print("No GPU can be had here. With --tiny, all cases run on this CPU.")
        return
    began = time.monotonic()
    print(f"{name_of(where)}, Python {platform.python_version()}, torch {torch.__version__}, "
          f"transformers {transformers.__version__}")  # fmt: skip
    print(parity(where), flush=True)
    results: dict[tuple[str, str], Mapping[str, Any]] = {}
    show("model", "way", "tokens/s", "x plain", "padding", "TFLOP/s", "MFU", "peak GB", "attention")
    for shape, way in CASES:
        if time.monotonic() - began > TOTAL_S - 2 * CASE_S:
            show(shape, way, "left out: no time")
            continue
        found = results[shape, way] = in_child(shape, way, tiny=given.tiny)
        show(shape, way, *cells(found, results.get((shape, plain_of(way)))))
    if not given.tiny:
        print_goals(results)
    print(f"{time.monotonic() - began:.0f} s")


def in_child(shape: str, way: str, *, tiny: bool) -> Mapping[str, Any]:
    """Measure a case in a process of its own, whose memory nothing else has used."""
    child = subprocess.run(
        [sys.executable, __file__, "--case", shape, way, *(["--tiny"] if tiny else [])],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONWARNINGS": "ignore"},
    )
    if child.returncode == 0:
        found: Mapping[str, Any] = json.loads(child.stdout.splitlines()[-1])
        return found
    reason = (child.stderr.strip().splitlines() or ["no words"])[-1]
    return {"error": "out of memory" if "OutOfMemory" in child.stderr else reason[:70]}


def measured(shape: Shape, way: str, *, tiny: bool) -> dict[str, Any]:
    """Train for a while and return the speed."""
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    where = device()
    if where.type == "cpu":
        torch.set_num_threads(1)  # threads that wait for each other cost more, on so small a model
    dtype = torch.bfloat16 if where.type == "cuda" else torch.float32
    rows = examples(shape, 300 if tiny else 4000)
    full = "full" in way
    with torch.device(where):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(
            shape.config, dtype=torch.float32 if full else dtype
        )
    if "checkpointing" in way:
        turn_on = getattr(model, "activation_checkpointing_enable", None)
        (turn_on or model.gradient_checkpointing_enable)()
    clock = Clock(where, 4 if tiny else CASE_S)
    with tempfile.TemporaryDirectory() as folder:
        make = plain_trainer if "plain" in way else own_trainer
        trainer, steps = make(model, rows, shape, way, Path(folder), dtype)
        trainer.add_callback(clock)
        trainer.train()
    places = [place for step in steps[WARM_STEPS : clock.step] for place in step]
    slots = sum(slots_of(rows, step, way) for step in steps[WARM_STEPS : clock.step])
    done = rows.some(places)
    flops = work_of(model, done) / clock.seconds
    peak = peak_flops(name_of(where), dtype)
    return {
        "tokens_per_s": float(done.lengths.sum()) / clock.seconds,
        "padding": 1 - float(done.lengths.sum()) / slots,
        "tflops": flops / 1e12,
        "mfu": None if peak is None else flops / peak,
        "peak_gb": peak_gb(where),
        "attention": attention_of(model),
    }


def own_trainer(
    model: Any, rows: Tokens, shape: Shape, way: str, folder: Path, dtype: torch.dtype
) -> tuple[Trainer, Sequence[Sequence[int]]]:
    """Return ftctl's trainer, and the examples of each of its steps."""
    given = {
        "finetuning_type": "full" if "full" in way else "lora",
        "num_train_epochs": 1,
        "max_tokens_per_batch": shape.budget,
        "packing": "packed" in way,
    }
    settings = hyperparameters.parse("supervised", given) | {"recipe": recipes.NEWEST}
    loss = labelled_loss(model)
    if "packed" in way or model.device.type == "cuda":
        start_packing(model, loss, rows, lambda: computing(model.device, dtype))
    trained = model if "full" in way else add_adapter(model, settings)
    trainer = LabelledTrainer(
        trained,
        training_arguments(RunDir(path=folder), settings, 1, model.device),
        Likelihood(
            loss=loss,
            train=Sequences(rows=rows, packed="packed" in way),
            held_out=Sequences(rows=flatten([])),
        ),
        TrainingState("", 1),
        dtype,
        Batches(
            rows.lengths,
            int(settings.get("per_device_train_batch_size", 1)),
            int(settings["gradient_accumulation_steps"]),
            1,
            budget=budget_of(settings),
        ),
    )
    return trainer, list(trainer.batches)


def plain_trainer(
    model: Any, rows: Tokens, shape: Shape, way: str, folder: Path, dtype: torch.dtype
) -> tuple[Trainer, Sequence[Sequence[int]]]:
    """Return a Trainer as people write it, and the examples of each of its steps."""
    if "full" not in way:
        model = get_peft_model(
            model,
            LoraConfig(r=16, lora_alpha=32, use_rslora=True, target_modules="all-linear"),
        )
    steps: list[list[int]] = []

    def collated(places: list[int]) -> dict[str, torch.Tensor]:
        steps.append(places)
        batch = collate(rows, places)
        return {key: batch[key] for key in ("input_ids", "attention_mask", "labels")}

    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=shape.rows,
        learning_rate=2e-4,
        bf16=dtype == torch.bfloat16,
        use_cpu=dtype == torch.float32,
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=1,
    )
    numbers = list(range(len(rows)))
    trainer = Trainer(model=model, args=arguments, train_dataset=numbers, data_collator=collated)
    return trainer, steps


class Clock(transformers.TrainerCallback):
    """Measures the time from the end of the first steps on, and stops the training."""

    def __init__(self, where: torch.device, limit: float) -> None:
        self._where, self._limit = where, limit
        self._began = self.seconds = 0.0
        self.step = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin, or stop when the time is over."""
        del args
        if state.global_step == WARM_STEPS:
            self._wait()
            self._began = time.monotonic()
        over = state.global_step > WARM_STEPS and time.monotonic() - self._began >= self._limit
        if over or state.global_step == state.max_steps:
            self._wait()
            self.seconds, self.step = time.monotonic() - self._began, state.global_step
            control.should_training_stop = True

    def _wait(self) -> None:
        if self._where.type == "cuda":
            torch.cuda.synchronize()


def parity(where: torch.device) -> str:
    """Return the losses of a tiny model on the CPU and on the device, padded and packed."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**TINY))
    rows = examples(TINY_SHAPES["8B"], 8)
    found = {}
    for name, place in (("CPU", torch.device("cpu")), (name_of(where), where)):
        model.to(place)
        loss = labelled_loss(model)
        for dtype in (torch.float32, torch.bfloat16):
            for packed in (False, True):
                with torch.no_grad(), computing(place, dtype):
                    if packed:
                        start_packing(model, loss, rows, lambda p=place, d=dtype: computing(p, d))
                    batch = (pack if packed else collate)(rows, range(len(rows)))
                    total = float(loss.total(sent(batch, place)))
                found[name, str(dtype)[6:], packed] = total / batch["labelled"].shape[1]
                model.set_attn_implementation("sdpa")
    lines = ["loss of one batch of a tiny model"]
    lines += [
        f"  {name:24.24} {dtype:9} {'packed' if packed else 'padded'} {value:.6f}"
        for (name, dtype, packed), value in found.items()
    ]
    exact = [value for (_, dtype, _), value in found.items() if dtype == "float32"]
    lines.append(f"  largest difference in float32: {max(exact) - min(exact):.1e}")
    if where.type == "cpu":
        lines.append("  there is no GPU: both are the CPU")
    return "\n".join(lines)


def examples(shape: Shape, count: int) -> Tokens:
    """Return random examples; their lengths are mixed as in chats, and their ends are learned."""
    random = np.random.default_rng(0)
    lengths = np.exp(random.normal(np.log(shape.longest / 8), 0.9, count))
    made = []
    for length in np.clip(lengths, 16, shape.longest).astype(int):
        ids = random.integers(3, shape.config.vocab_size, length).tolist()
        learned = int(length * SHARE_LEARNED)
        made.append(Encoded(ids=ids, learned=[False] * (length - learned) + [True] * learned))
    return flatten(made)


def slots_of(rows: Tokens, step: Sequence[int], way: str) -> int:
    """Return the positions of a batch with its padding."""
    lengths = rows.lengths[list(step)]
    return int(lengths.sum() if "packed" in way else lengths.max() * len(step))


def device() -> torch.device:
    """Return the device that is measured."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def name_of(where: torch.device) -> str:
    """Return a device's name."""
    return torch.cuda.get_device_name() if where.type == "cuda" else "cpu"


def peak_gb(where: torch.device) -> float:
    """Return the most memory that this process had, on the device that is measured."""
    if where.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def plain_of(way: str) -> str:
    """Return the way that another one is compared with."""
    return "plain Trainer, full" if "full" in way else "plain Trainer + PEFT"


def cells(found: Mapping[str, Any], plain: Mapping[str, Any] | None) -> list[str]:
    """Return the cells of a row."""
    if "error" in found:
        return [found["error"]]
    known = plain is not None and "error" not in plain
    ratio = f"{found['tokens_per_s'] / plain['tokens_per_s']:.2f}" if known and plain else "-"
    return [
        f"{found['tokens_per_s']:,.0f}",
        ratio,
        f"{found['padding']:.0%}",
        f"{found['tflops']:.3g}",
        "-" if found["mfu"] is None else f"{found['mfu']:.0%}",
        f"{found['peak_gb']:.1f}",
        found["attention"],
    ]


def show(*columns: str) -> None:
    """Print a row of the table."""
    widths = (6, 29, 10, 9, 9, 10, 5, 9, 10)
    print("".join(f"{text:<{width}}" for text, width in zip(columns, widths, strict=False)).rstrip(),
          flush=True)  # fmt: skip


def print_goals(results: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    """Print whether the goals for an H200 were reached."""
    for name, shape in SHAPES.items():
        packed, plain = (
            results.get((name, way), {}).get("tokens_per_s")
            for way in ("LoRA packed", "plain Trainer + PEFT")
        )
        if packed is not None:
            word = "reached" if packed >= (shape.goal or 0) else "missed"
            print(f"{name}: {packed:,.0f} tokens/s, goal on an H200 {shape.goal:,}: {word}")
        if packed is not None and plain is not None:
            word = "reached" if packed >= 1.8 * plain else "missed"
            print(f"{name}: packed {packed / plain:.2f} x plain, goal 1.8: {word}")


if __name__ == "__main__":
    main()
