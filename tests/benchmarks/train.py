"""The same training through ftctl and through `trl sft`, one after the other on this machine.

500 pairs, 3 epochs, batches of 16, LoRA of rank 16 on every linear layer of a random model of 2.4
million parameters. Whole commands are timed: start of the process to trained adapter on disk.

    python tests/benchmarks/train.py --trl TRL

TRL is the `trl` program, of an environment of its own so that this one stays as it is:

    python -m venv /tmp/trl && /tmp/trl/bin/pip install trl peft
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen3Config, Qwen3ForCausalLM

from backends.contract.jobs import JobState, TrainRequest
from backends.local_gpu.backend import LocalGpuBackend
from backends.local_gpu.jobs.child_process import child_environment

SHIPPED = (
    Path(__file__).parents[2] / "backends" / "local_gpu" / "templates" / "shipped" / "chatml.jinja"
)
WORDS = [
    "카페",
    "창업",
    "비용",
    "영업",
    "시간",
    "메뉴",
    "원두",
    "매장",
    "상권",
    "임대",
    "hours",
    "open",
    "coffee",
    "beans",
    "menu",
    "price",
    "street",
    "how",
    "much",
    "what",
    "where",
    "when",
    "is",
    "the",
    "a",
    "we",
    "you",
    "our",
    "are",
    "and",
    "of",
    "for",
    "near",
    "every",
    "day",
    "please",
    "thank",
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
EPOCHS, BATCH, RATE = 3, 16, 2e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one whole command cost."""

    seconds: float
    peak_mb: float
    note: str


def main() -> None:
    """Run both and print the ratios."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--trl", default=shutil.which("trl"), help="the trl program")
    arguments.add_argument("--runs", type=int, default=1, help="the best of so many")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        write_base(folder / "base")
        ours = min((ftctl(folder, run) for run in range(given.runs)), key=lambda m: m.seconds)
        show("ftctl", ours)
        if given.trl is None:
            print(__doc__)
            sys.exit("no trl program found: give one with --trl")
        theirs = min((trl(folder, given.trl) for _ in range(given.runs)), key=lambda m: m.seconds)
    show("trl sft", theirs)
    print(
        f"ftctl / trl: time {ours.seconds / theirs.seconds:.2f}, "
        f"peak memory {ours.peak_mb / theirs.peak_mb:.2f}"
    )


def ftctl(folder: Path, run: int) -> Measured:
    """Train through the backend, as `ftctl apply` does."""
    backend = LocalGpuBackend(folder / f"state-{run}")
    settings = {
        "num_train_epochs": EPOCHS,
        "per_device_train_batch_size": BATCH,
        "learning_rate": RATE,
    }
    request = TrainRequest(
        name="benchmark",
        fingerprint="ft1:" + "0" * 64,
        attempt=1,
        base_model=backend.resolve_base_model(str(folder / "base"), None, folder),
        method="supervised",
        hyperparameters=backend.parse_hyperparameters("supervised", settings),
        seed=42,
        train=folder / "train.jsonl",
        held_out=folder / "held_out.jsonl",
        train_origins=folder / "origins",
    )
    started = time.monotonic()
    job = backend.submit(request)
    while job.state.is_open:
        time.sleep(0.05)
        job = backend.observe([job.id])[job.id]
    seconds = time.monotonic() - started
    if job.state is not JobState.SUCCEEDED or job.result is None:
        sys.exit(f"ftctl: {job.error}")
    facts = job.result.facts
    note = (
        f"{facts['tokens_per_s']} tokens/s, held-out loss "
        f"{facts['held_out_loss_before']:.4f} -> {facts['held_out_loss']:.4f}"
    )
    return Measured(seconds=seconds, peak_mb=float(str(facts["peak_memory_mb"])), note=note)


def trl(folder: Path, program: str) -> Measured:
    """Train through TRL's command line, with the same data, base and settings."""
    config = {
        "model_name_or_path": str(folder / "base"),
        "dataset_name": str(folder / "trl"),
        "output_dir": str(folder / "trl-out"),
        "num_train_epochs": EPOCHS,
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": BATCH,
        "learning_rate": RATE,
        "lr_scheduler_type": "linear",
        "use_peft": True,
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.0,
        "lora_target_modules": "all-linear",
        "use_rslora": True,
        "assistant_only_loss": True,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "report_to": "none",
        "seed": 42,
        # What suits a CPU and a small model best; its defaults are slower here.
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": not torch.cuda.is_available(),
    }
    (folder / "trl").mkdir(exist_ok=True)
    for name, split in (("train.jsonl", "train"), ("held_out.jsonl", "test")):
        shutil.copyfile(folder / name, folder / "trl" / f"{split}.jsonl")
    (folder / "trl.yaml").write_text(json.dumps(config))
    started = time.monotonic()
    child = subprocess.Popen(
        [program, "sft", "--config", str(folder / "trl.yaml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=child_environment(os.environ) | {"HF_HUB_OFFLINE": "1"},
    )
    peak = [0.0]
    watching = threading.Thread(target=watch, args=(child.pid, peak))
    watching.start()
    output = child.communicate()[0]
    seconds = time.monotonic() - started
    watching.join()
    if child.returncode != 0:
        sys.exit(f"trl:\n{output[-3000:]}")
    losses = [line for line in output.splitlines() if "eval_loss" in line]
    return Measured(seconds=seconds, peak_mb=peak[0], note=losses[-1][:120] if losses else "")


def watch(parent: int, peak: list[float]) -> None:
    """Note the highest resident memory of any one process below another, in MB."""
    while Path(f"/proc/{parent}").exists():
        for path in Path("/proc").glob("[0-9]*/status"):
            try:
                text = path.read_text()
                line = dict(part.split(":\t", 1) for part in text.splitlines() if ":\t" in part)
            except (OSError, ValueError):
                continue
            of_ours = line.get("PPid", "").strip() == str(parent) or line.get("Pid") == str(parent)
            if of_ours and "VmHWM" in line:
                peak[0] = max(peak[0], int(line["VmHWM"].split()[0]) * 1024 / 1e6)
        time.sleep(0.2)
        if (
            Path(f"/proc/{parent}/status").exists()
            and "State:\tZ" in Path(f"/proc/{parent}/status").read_text()
        ):
            return


def write_data(folder: Path) -> None:
    """Write 500 pairs to train on and 100 held out, about 35 tokens each."""
    chance = random.Random(0)

    def words(least: int, most: int) -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(least, most)))

    for name, count in (("train.jsonl", 500), ("held_out.jsonl", 100)):
        with (folder / name).open("w", encoding="utf-8") as file:
            for _ in range(count):
                turns = (("user", words(3, 20)), ("assistant", words(3, 25)))
                row = {"messages": [{"role": role, "content": text} for role, text in turns]}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    (folder / "origins").write_text("".join(f"train.jsonl:{n + 1}\n" for n in range(500)))


def write_base(folder: Path) -> None:
    """Write a random Qwen3-shaped model of 2.4 million parameters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS)], trainer)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "TokenizersBackend", "eos_token": "<|im_end|>"}
    settings["pad_token"] = "<|endoftext|>"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    shutil.copyfile(SHIPPED, folder / "chat_template.jinja")
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=4096,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=3,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=2,
        bos_token_id=None,
        pad_token_id=0,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)


def show(name: str, measured: Measured) -> None:
    """Print one command's cost."""
    print(f"{name:8} {measured.seconds:6.1f} s  peak {measured.peak_mb:6.0f} MB  {measured.note}")


if __name__ == "__main__":
    main()
