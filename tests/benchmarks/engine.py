"""What one engine answers: one question at a time, and eight at once, with one adapter and several.

A random model of 2.4 million parameters (or --hidden and --layers) with four random LoRA adapters
of rank 16; 48 answers of 64 tokens each time. Also what one `complete` costs, which loads anew.

    python tests/benchmarks/engine.py
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from backends.atomic_files import write_atomic
from backends.contract.completions import Prompt, Sampling
from backends.contract.jobs import BaseModel, TrainRequest
from backends.local_gpu.backend import LocalGpuBackend
from backends.local_gpu.inference.engine import LocalEngine, open_engine
from backends.local_gpu.jobs.run_dir import create

SHIPPED = (
    Path(__file__).parents[2] / "backends" / "local_gpu" / "templates" / "shipped" / "chatml.jinja"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QUESTIONS = [
    "영업 시간이 어떻게 되나요?",
    "How much is a coffee?",
    "주말에도 문 여나요? 주차할 곳이 있는지도 알고 싶습니다.",
    "Where?",
]
ANSWERS, TOKENS = 48, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What answering all questions cost."""

    tokens_per_s: float
    first_s: float
    """Seconds to the first piece, in the median."""
    memory_mb: float


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--hidden", type=int, default=192, help="width of the model")
    arguments.add_argument("--layers", type=int, default=4)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_base(folder / "base", given.hidden, given.layers)
        backend = LocalGpuBackend(folder / "state")
        base = backend.resolve_base_model(str(folder / "base"), None, folder)
        adapters = [write_adapter(backend, base, folder, seed) for seed in range(4)]
        started = time.monotonic()
        engine = open_engine(folder / "state", base)
        try:
            ask(engine, adapters, 4)
            print(f"start, base and 4 adapters loaded: {time.monotonic() - started:.1f} s")
            report(engine, adapters)
        finally:
            engine.close()
        started = time.monotonic()
        backend.complete(base, adapters[:1], [prompt(0)], Sampling(max_tokens=TOKENS))
        print(
            f"one `complete` of one question, its wait for the device included: {time.monotonic() - started:.1f} s"
        )


def report(engine: LocalEngine, adapters: Sequence[str]) -> None:
    """Print each way to ask, and what asking eight at once gains."""
    rates = {}
    for what, chosen, width in (
        ("base, 1 at a time", [None], 1),
        ("base, 8 at once", [None], 8),
        ("1 adapter, 1 at a time", adapters[:1], 1),
        ("1 adapter, 8 at once", adapters[:1], 8),
        ("4 adapters, 8 at once", adapters, 8),
        ("4 adapters and base, 16 at once", [None, *adapters], 16),
    ):
        measured = ask(engine, chosen, width)
        rates[what] = measured.tokens_per_s
        print(
            f"{what:32} {measured.tokens_per_s:7.0f} tokens/s   first piece "
            f"{measured.first_s * 1e3:6.1f} ms   {measured.memory_mb:6.0f} MB"
        )
    alone = rates["1 adapter, 1 at a time"]
    print(
        f"8 at once / 1: {rates['1 adapter, 8 at once'] / alone:.2f} with one adapter, "
        f"{rates['4 adapters, 8 at once'] / alone:.2f} with four, "
        f"{rates['base, 8 at once'] / rates['base, 1 at a time']:.2f} with none"
    )


def ask(engine: LocalEngine, chosen: Sequence[str | None], width: int) -> Measured:
    """Ask everything, so many questions at once."""

    def answer(number: int) -> tuple[float, int]:
        started = time.monotonic()
        model = chosen[number % len(chosen)]
        chunks = engine.generate(model, prompt(number), Sampling(max_tokens=TOKENS))
        last = next(chunks)
        first_s = time.monotonic() - started
        for chunk in chunks:
            last = chunk
        return first_s, last.completion_tokens

    started = time.monotonic()
    with ThreadPoolExecutor(width) as threads:
        answers = list(threads.map(answer, range(ANSWERS)))
    seconds = time.monotonic() - started
    status = Path(f"/proc/{engine.pid}/status").read_text()
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return Measured(
        tokens_per_s=sum(tokens for _, tokens in answers) / seconds,
        first_s=sorted(first for first, _ in answers)[ANSWERS // 2],
        memory_mb=int(peak) * 1024 / 1e6,
    )


def prompt(number: int) -> Prompt:
    """Return one of the questions, no two of them alike."""
    text = f"{number}: {QUESTIONS[number % len(QUESTIONS)]}"
    return Prompt(messages=[{"role": "user", "content": text}])


def write_base(folder: Path, hidden: int, layers: int) -> None:
    """Write a random Qwen3-shaped model that never ends an answer by itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(QUESTIONS, trainer)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    shutil.copyfile(SHIPPED, folder / "chat_template.jinja")
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=4096,
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 64,
        head_dim=32,
        max_position_embeddings=512,
        eos_token_id=2,
        bos_token_id=None,
        pad_token_id=0,
    )
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        # Only what the little tokenizer has a text for, and no control token, is ever likely.
        model.lm_head.weight[: len(SPECIAL)] = 0
        model.lm_head.weight[tokenizer.get_vocab_size() :] = 0
    model.save_pretrained(folder)


def write_adapter(backend: LocalGpuBackend, base: BaseModel, folder: Path, seed: int) -> str:
    """Make a run whose adapter is random instead of trained."""
    empty = folder / "empty.jsonl"
    empty.write_text("")
    request = TrainRequest(
        name="benchmark",
        fingerprint=f"ft1:{seed:016x}{0:048x}",
        attempt=1,
        base_model=base,
        method="supervised",
        hyperparameters=backend.parse_hyperparameters("supervised", {}),
        seed=seed,
        train=empty,
        held_out=empty,
        train_origins=empty,
    )
    run = create(folder / "state", request)
    torch.manual_seed(seed)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=16, target_modules="all-linear", init_lora_weights=False
    )
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base.reference), config)
    adapted.save_pretrained(run.model)
    (run.model / "provenance.json").write_text("{}")
    write_atomic(run.result, b"{}")
    return f"ft:benchmark:{run.name}"


if __name__ == "__main__":
    main()
