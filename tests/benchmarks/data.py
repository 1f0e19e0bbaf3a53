"""The same rows through ftctl, LLaMA-Factory's and TRL's own preprocessing, one after the other.

Building: rows become checked, prepared examples, without tokenizing. ftctl builds a dataset in an
empty cache, with its exact deduplication and its split; LLaMA-Factory loads and aligns; TRL loads,
and converts what is not in its own form (rows of `{"messages": […]}` are, so for them its number
is datasets' loader alone; therefore the same rows are built as ShareGPT too). With tokens: the same
with every example read by the base model's tokenizer and chat template; ftctl counts and checks the
length, the others keep ids and labels. What is called of each stands in `preparing/with_*.py`.
Each is given one process and two, and the better of the two is what ftctl is compared with.

    python tests/benchmarks/data.py --make-environments DIR
    python tests/benchmarks/data.py --environments DIR [--rows N] [--token-rows N] [--runs N]
                                    [--real FOLDER]
    python tests/benchmarks/data.py --memory   # 1 and 4 million examples
    python tests/benchmarks/data.py --replan   # what a second plan reads of 1 GB
    python tests/benchmarks/data.py --floor    # what one process can read, hash, parse and spell

Seconds and CPU seconds are those of the work alone; the command's also hold the start of Python
and its imports. Memory is the highest sum over all processes of a command, sampled 20 times a
second from /proc; `once` counts a page that several of them share once (4 times a second). The
tokenizer is that of backends/local_gpu/models/small_base.py, with its ChatML, for all three. Linux only.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pydantic_core
from preparing.measure import Measured, measure
from preparing.rows import write_rows
from tokenizers import Tokenizer
from transformers.utils import logging

from backends.local_gpu.models.small_base import make_small_base
from controller.canonical import canonical_json

HERE = Path(__file__).parent / "preparing"
TORCH = "torch==2.13.0"
RIVALS = {
    "llamafactory": (
        *("llamafactory==0.9.5", "transformers==5.6.0", "datasets==4.0.0", "tokenizers==0.22.2"),
        *("trl==0.24.0", "peft==0.18.1", "accelerate==1.11.0", "torchaudio==2.11.0"),
    ),
    "trl": ("trl==1.16.0", "transformers==5.23.0", "datasets==5.2.0", "tokenizers==0.23.3"),
}
"""What was found to work together; the first is what is measured."""
LONGEST = 8192
"""The limit in tokens that each of the three is given; no row is so long."""
GIGABYTE_ROWS = 3_500_000
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a table."""

    name: str
    rival: str
    """Whom it is the best of, or not."""
    seconds: float
    cpu_s: float
    """Of the work, user and system, its processes together: steadier on a machine with company."""
    examples: int
    tokens: int | None
    cost: Measured

    @property
    def rate(self) -> float:
        """Examples a second."""
        return self.examples / self.seconds


def main() -> None:
    """Do what was asked."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--token-rows", type=int, default=100_000, help="where tokens count")
    arguments.add_argument("--runs", type=int, default=1, help="the best of so many")
    arguments.add_argument("--real", type=Path, help="folder with real rows, which come first")
    arguments.add_argument("--environments", type=Path, help="what --make-environments made")
    for rival in RIVALS:
        arguments.add_argument(f"--{rival}", help=f"a python that has {RIVALS[rival][0]}")
    arguments.add_argument("--make-environments", type=Path, metavar="DIR")
    arguments.add_argument("--memory", action="store_true")
    arguments.add_argument(
        "--tokens", action="store_true", help="--memory while tokens are counted"
    )
    arguments.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 4_000_000])
    arguments.add_argument("--replan", action="store_true")
    arguments.add_argument("--replan-rows", type=int, default=GIGABYTE_ROWS)
    arguments.add_argument("--floor", action="store_true")
    given = arguments.parse_args()
    if given.make_environments is not None:
        make_environments(given.make_environments)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        logging.disable_progress_bar()
        make_small_base(folder / "base", steps=1)
        if given.memory:
            memory(folder, given.sizes, limited=given.tokens)
        elif given.replan:
            replan(folder, given.replan_rows)
        elif given.floor:
            floor(folder, given.rows)
        else:
            compare(folder, given, pythons(given))


def pythons(given: argparse.Namespace) -> dict[str, str]:
    """Return the python of each rival that there is one for."""
    found = {}
    for rival in RIVALS:
        made = given.environments and given.environments / rival / "bin" / "python"
        python = getattr(given, rival) or made
        if python is not None:
            found[rival] = str(python)
        else:
            print(f"no {rival}: see --make-environments and --{rival}")
    return found


def make_environments(folder: Path) -> None:
    """Make an environment of its own for each rival."""
    for rival, wanted in RIVALS.items():
        home = folder / rival
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        pip = [str(home / "bin" / "python"), "-m", "pip"]
        # torch first and alone, so that pip does not settle on another one.
        subprocess.run([*pip, "install", "-qq", TORCH], check=True)
        subprocess.run([*pip, "install", "-qq", TORCH, *wanted], check=True)
        show = "import torch; print(torch.version.cuda or '')"
        cuda = subprocess.run(
            [home / "bin" / "python", "-c", show], check=True, capture_output=True, text=True
        )
        if rival == "llamafactory" and not cuda.stdout.strip():
            # Both are built for CUDA and break the import beside a torch without it. LLaMA-Factory
            # imports torchaudio's Python part for audio, which these rows have none of.
            subprocess.run([*pip, "uninstall", "-qqy", "torchvision"], check=True)
            for built in home.glob("lib/python*/site-packages/torchaudio/lib"):
                shutil.rmtree(built)
        print(f"{home / 'bin' / 'python'}: {', '.join(wanted)}")


def compare(folder: Path, given: argparse.Namespace, python: dict[str, str]) -> None:
    """Print the tables."""
    for form, limited in (("chat", False), ("sharegpt", False), ("chat", True)):
        rows = folder / form / "finetunes" / "rows.jsonl"
        count = given.token_rows if limited else given.rows
        if limited:
            # The same file with fewer rows.
            rows.unlink()
        size = repository(folder, form, count, limited=limited, real=given.real)
        what = "with tokens" if limited else "without tokens"
        print(f"\n{count:,} examples in {form} form, {size / 1e6:.0f} MB, {what}")
        print(f"{'':28}examples/s  seconds   CPU s  command s  peak MB  once MB  tokens")
        lines = [best(given.runs, lambda form=form: ftctl(folder, form))]
        show(lines[0])
        for rival, task in rivals(python, limited=limited):
            for processes in (1, 2):
                one = best(
                    given.runs,
                    lambda a=(rival, task, processes, rows): other(folder, python[a[0]], *a),
                )
                show(one)
                lines.append(one)
        ratios(lines)


def rivals(python: dict[str, str], *, limited: bool) -> list[tuple[str, str]]:
    """Return which rivals do what for one table."""
    tasks = {"llamafactory": ["build"], "trl": ["build"]}
    if limited:
        tasks = {"llamafactory": ["tokens"], "trl": ["tokens", "unlimited"]}
    return [(rival, task) for rival in python for task in tasks[rival]]


def best(runs: int, once: Callable[[], Line]) -> Line:
    """Return the quickest of so many."""
    return min((once() for _ in range(runs)), key=lambda line: line.seconds)


def repository(
    folder: Path, name: str, rows: int, *, limited: bool = False, real: Path | None = None
) -> int:
    """Write a repository with one spec and its rows; return how large those are."""
    finetunes = folder / name / "finetunes"
    finetunes.mkdir(parents=True, exist_ok=True)
    if not (finetunes / "base").exists():
        shutil.copytree(folder / "base", finetunes / "base")
    prepare = f"  prepare: {{max_tokens: {LONGEST}}}\n" if limited else ""
    (finetunes / "benchmark.yaml").write_text(
        "backend: local-gpu\nbase_model: ./base\nmethod: supervised\n"
        f"data:\n  train: [{{path: rows.jsonl}}]\n  held_out: {{fraction: 0.1}}\n{prepare}"
    )
    path = finetunes / "rows.jsonl"
    if path.exists():
        return path.stat().st_size
    return write_rows(path, rows, form="sharegpt" if name == "sharegpt" else "chat", real=real)


def ftctl(folder: Path, name: str) -> Line:
    """Build a repository's dataset in an empty cache."""
    with tempfile.TemporaryDirectory(dir=folder) as state:
        cost = measure(
            [sys.executable, str(HERE / "with_ftctl.py"), str(folder / name)],
            os.environ | {"FTCTL_STATE_DIR": state},
        )
    return line("ftctl", "", cost)


def other(folder: Path, python: str, rival: str, task: str, processes: int, rows: Path) -> Line:
    """Prepare the same rows with another, whose caches are empty too."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        environment = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
        environment |= {"HF_HOME": scratch, "HF_HUB_OFFLINE": "1"}
        environment |= {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        program = str(HERE / f"with_{rival}.py")
        base = str(folder / "base")
        command = [python, program, task, str(rows), base, str(processes), scratch, str(LONGEST)]
        cost = measure(command, environment)
    noted = {"unlimited": ", no length"}.get(task, "")
    return line(f"{rival}{noted}, {processes} process{'es'[: 2 * (processes > 1)]}", rival, cost)


def line(name: str, rival: str, cost: Measured) -> Line:
    """Return what a command said and cost."""
    said = cost.said()
    return Line(
        name=name,
        rival=rival,
        seconds=said["seconds"],
        cpu_s=said["cpu_s"],
        examples=int(said["examples"]),
        tokens=None if said["tokens"] is None else int(said["tokens"]),
        cost=cost,
    )


def show(one: Line) -> None:
    """Print a line of a table."""
    tokens = "" if one.tokens is None else f"{one.tokens:,}"
    print(
        f"{one.name:28}{one.rate:10,.0f}{one.seconds:9.2f}{one.cpu_s:8.2f}"
        f"{one.cost.command_s:11.2f}{one.cost.peak_mb:9.0f}{one.cost.once_mb:9.0f}  {tokens}",
        flush=True,
    )


def ratios(lines: list[Line]) -> None:
    """Print how much faster the first is than the best of each other."""
    ours, *others = lines
    for rival in dict.fromkeys(one.rival for one in others):
        fastest = max((one for one in others if one.rival == rival), key=lambda one: one.rate)
        print(
            f"ftctl / {fastest.name}: {ours.rate / fastest.rate:.2f} times the examples/s,"
            f" {ours.cpu_s / fastest.cpu_s:.2f} of the CPU time,"
            f" {ours.cost.peak_mb / fastest.cost.peak_mb:.2f} of the peak memory"
        )
    if len({one.examples for one in lines}) > 1:
        print("NOT THE SAME:", ", ".join(f"{one.name} {one.examples:,}" for one in lines))


def memory(folder: Path, sizes: list[int], *, limited: bool) -> None:
    """Print the peak memory of ftctl for growing datasets."""
    peaks = []
    print(f"{'':28}examples/s  seconds   CPU s  command s  peak MB  once MB  tokens")
    for rows in sizes:
        size = repository(folder, f"{rows}", rows, limited=limited)
        one = ftctl(folder, f"{rows}")
        shutil.rmtree(folder / f"{rows}")
        peaks.append(one.cost.peak_mb)
        print(f"{rows:,} examples, {size / 1e6:,.0f} MB")
        show(one)
    print(f"peak memory, last / first: {peaks[-1] / peaks[0]:.2f}")


def replan(folder: Path, rows: int) -> None:
    """Print what a second plan of unchanged data reads."""
    given: dict[str, list[int]] = {}
    for name, count in (("small", 1000), ("large", rows)):
        size = repository(folder, name, count)
        source = folder / name / "finetunes" / "rows.jsonl"
        command = [sys.executable, "-m", "controller", "--dir", str(folder / name), "plan"]
        print(f"{name} source of {size / 1e6:,.1f} MB")
        given[name] = []
        for turn in ("first", "second", "third"):
            # What is read comes back into memory, however it is read.
            forget(source)
            before = resident(source)
            cost = measure(command, os.environ)
            given[name].append(cost.read_bytes)
            print(
                f"  {turn} plan: {cost.command_s:.2f} s, "
                f"{resident(source) - before:,} bytes of the source came into memory, "
                f"{cost.read_bytes:,} bytes given by all read calls"
            )
    for turn, small, large in zip(("first", "second", "third"), *given.values(), strict=True):
        print(f"{turn} plan: read calls gave {large - small:,} bytes more for the large source")


def forget(path: Path) -> None:
    """Ask the kernel to drop what it holds of a file in memory."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident(path: Path) -> int:
    """Return how many bytes of a file the kernel holds in memory."""
    command = ["fincore", "--bytes", "--noheadings", "--output", "RES", str(path)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def floor(folder: Path, rows: int) -> None:
    """Print what single processes can do with the same file, step by step."""
    size = repository(folder, "floor", rows)
    path = folder / "floor" / "finetunes" / "rows.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    values = [pydantic_core.from_json(row) for row in lines]
    tokenizer = Tokenizer.from_file(str(folder / "base" / "tokenizer.json"))
    texts = ["\n".join(turn["content"] for turn in value["messages"]) for value in values]

    def in_chunks(use: Callable[[bytes], object]) -> None:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                use(chunk)

    hasher = hashlib.sha256()
    steps: dict[str, Callable[[], object]] = {
        "reading bytes (in memory)": lambda: in_chunks(len),
        "and sha256": lambda: in_chunks(hasher.update),
        "splitting into lines": lambda: sum(1 for _ in path.open("rb")),
        "pydantic_core.from_json": lambda: [pydantic_core.from_json(r) and None for r in lines],
        "json.loads": lambda: [json.loads(row) and None for row in lines],
        "canonical spelling": lambda: [canonical_json(value) and None for value in values],
        "sha256 of each row": lambda: [hashlib.sha256(row) and None for row in lines],
        "tokenizing, one by one": lambda: [tokenizer.encode(text) and None for text in texts],
        "tokenizing, batches, threads": lambda: [
            len(tokenizer.encode_batch_fast(texts[at : at + 1000]))
            for at in range(0, len(texts), 1000)
        ],
    }
    print(f"{rows:,} rows, {size / 1e6:.0f} MB, one process")
    for name, step in steps.items():
        started = time.perf_counter()
        step()
        seconds = time.perf_counter() - started
        print(f"{name:30}{rows / seconds:14,.0f} rows/s{size / 1e6 / seconds:10,.0f} MB/s")


if __name__ == "__main__":
    main()
