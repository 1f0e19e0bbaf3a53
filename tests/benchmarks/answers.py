"""Answers that are kept: memory, tokens per second, and the share of a server's rate limit.

    python tests/benchmarks/answers.py memory     5,000 held-out examples for 3 models, and 500
    python tests/benchmarks/answers.py local      `complete` against one-by-one `generate`
    python tests/benchmarks/answers.py remote     answers per second under a rate limit

The models of `local` are random, of the form of Qwen3, and never end an answer by themselves. Both
ways answer in turns, in one run, in a process each, with one thread: on a machine that others use,
the threads of one step wait for each other, which slows `generate` down far more than `complete`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from engine import prompt, write_base
from transformers import AutoModelForCausalLM

from backends.contract.completions import Sampling
from backends.contract.jobs import BaseModel
from backends.local_gpu.backend import LocalGpuBackend
from backends.local_gpu.tokens.chat_tokens import load_chat
from backends.registry import Endpoint, open_backend
from tests.servers.chat_server import ChatServer

ROOT = Path(__file__).parents[2]
CHILD = ROOT / "tests" / "controller" / "evaluate" / "ask_child.py"
ANSWERS, TOKENS = 256, 64
ALONE = 24
"""Answers that are made one by one, each time; a rate needs no more."""
ROUNDS = 3


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("what", choices=["memory", "local", "remote"])
    arguments.add_argument("--hidden", type=int, default=192, help="width of the local model")
    arguments.add_argument("--layers", type=int, default=4)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.what == "memory":
            memory(folder)
        elif given.what == "local":
            local(folder, given.hidden, given.layers)
        else:
            remote(folder)


def memory(folder: Path) -> None:
    """Print the highest memory of a process that asks, for two numbers of examples."""
    with ChatServer() as server:
        for count in (500, 5_000):
            held_out = write_held_out(folder / f"{count}.jsonl", count)
            state = folder / f"state-{count}"
            command = [sys.executable, CHILD, "openai", state, held_out, "gpt", "ft:1", "ft:2"]
            environment = {
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "OPENAI_BASE_URL": server.url,
                "OPENAI_API_KEY": "sk-test",
            }
            for what in ("asked", "kept"):
                started = time.monotonic()
                done = subprocess.run(
                    command, env=environment, capture_output=True, text=True, check=True
                )
                asked, kept, _, peak_kb = map(int, done.stdout.split())
                size_mb = sum(file.stat().st_size for file in (state / "answers").iterdir()) / 1e6
                print(
                    f"{count:5} examples for 3 models, {what:5}: {asked:6} asked {kept:6} kept   peak "
                    f"{peak_kb * 1024 / 1e6:6.1f} MB   {time.monotonic() - started:5.1f} s   "
                    f"{size_mb:5.1f} MB of answers"
                )


def write_held_out(path: Path, count: int) -> Path:
    """Write examples of about 4 kB each."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            turns = {
                "user": f"{number} " + "영업 시간이 어떻게 되나요? " * 40,
                "assistant": "네. " * 200,
            }
            messages = [{"role": role, "content": text} for role, text in turns.items()]
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Tokens of answers, and the seconds that they took."""

    tokens: int
    seconds: float

    @property
    def per_s(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


def local(folder: Path, hidden: int, layers: int) -> None:
    """Print tokens per second of both ways, in turns."""
    os.environ |= {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    write_base(folder / "base", hidden, layers)
    backend = LocalGpuBackend(folder / "state")
    base = backend.resolve_base_model(str(folder / "base"), None, folder)
    ratios = []
    for _ in range(ROUNDS):
        alone = one_by_one(folder / "base")
        together = completed(backend, base)
        ratios.append(together.per_s / alone.per_s)
        print(
            f"generate, one by one {alone.per_s:7.0f} tokens/s   complete {together.per_s:7.0f} "
            f"tokens/s from the first answer to the last   {ratios[-1]:.1f} times",
            flush=True,
        )
    print(f"in the median {sorted(ratios)[ROUNDS // 2]:.1f} times as fast")


def one_by_one(folder: Path) -> Rate:
    """Answer with transformers' `generate`, a prompt at a time, with its KV cache."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    chat = load_chat(folder, None, thinking=False)
    tokens, started = 0, 0.0
    for number in range(ALONE + 2):
        if number == 2:
            # The first answers warm up.
            tokens, started = 0, time.monotonic()
        ids = chat.prompt({"messages": list(prompt(number).messages)})
        made = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=TOKENS,
            do_sample=False,
            pad_token_id=0,
        )
        tokens += made.shape[1] - len(ids)
    return Rate(tokens=tokens, seconds=time.monotonic() - started)


def completed(backend: LocalGpuBackend, base: BaseModel) -> Rate:
    """Answer with `complete`; loading is not counted, as in `one_by_one`.

    The clock starts when the first answers enter their batch, whose seconds they carry.
    """
    prompts = [prompt(number) for number in range(ANSWERS)]
    tokens, started = 0, None
    for answer in backend.complete(base, [None], prompts, Sampling(max_tokens=TOKENS)):
        if started is None:
            started = time.monotonic() - (answer.completion.latency_s or 0.0)
        tokens += answer.completion.completion_tokens
    return Rate(tokens=tokens, seconds=time.monotonic() - (started or 0.0))


def remote(folder: Path) -> None:
    """Print answers per second, and their share of what limit and concurrency allow."""
    os.environ |= {"OPENAI_API_KEY": "sk-test"}
    for per_s, delay_s, burst in (
        (10.0, 0.2, 1),
        (30.0, 0.5, 30),
        (50.0, 1.0, 1),
    ):
        with ChatServer(delay_s=delay_s, per_s=per_s, burst=burst) as server:
            seconds = list(answer_times(folder, server.url, count=int(per_s * 12)))
            # Neither the burst at the beginning nor the last answers are the rate.
            steady = seconds[burst + len(seconds) // 5 : -len(seconds) // 10]
            rate = (len(steady) - 1) / (steady[-1] - steady[0])
            print(
                f"limit {per_s:4.0f}/s in bursts of {burst:2}, answers of {delay_s:.1f} s: "
                f"{rate:5.1f} answers/s, {rate / per_s:4.0%} of the limit; {server.limited} of "
                f"{server.limited + server.count} requests were sent back",
                flush=True,
            )


def answer_times(folder: Path, url: str, count: int) -> Iterator[float]:
    """Yield when each answer came."""
    backend = open_backend("openai", folder, Endpoint(name="benchmark", base_url=url))
    base = BaseModel(reference="gpt", revision=None, identity="model:gpt")
    prompts = [prompt(number) for number in range(count)]
    for _ in backend.complete(base, [None], prompts, Sampling()):
        yield time.monotonic()


if __name__ == "__main__":
    main()
