"""A real pretrained model learns a real task: accuracy before and after, loss, time and memory.

SmolLM2-135M-Instruct learns the topics of a bank's inquiries from 600 short rows in one epoch, by
`ftctl apply` on this machine.

    python tests/benchmarks/real.py              needs the model in its cache
    python tests/benchmarks/real.py --download   downloads it first (90 MB)
    python tests/benchmarks/real.py --trl TRL    trains with TRL by turns, and compares
    python tests/benchmarks/real.py --exports    asks every program that loads an export

TRL is the `trl` program, of an environment of its own:

    python -m venv /tmp/trl && /tmp/trl/bin/pip install trl peft

Both train the same rows with the same settings, in float32, and measure the held-out loss before and
after. The training processes are timed, from start to adapter on disk, by the clock and by the CPU:
on a machine that others use too, only the latter tells anything.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.local_gpu.jobs.child_process import child_environment
from tests.real_model.exported import compare_exports
from tests.real_model.inquiries import inquiries
from tests.real_model.model import NAME as MODEL
from tests.real_model.model import cached_model, fetch_model
from tests.real_model.repository import (
    NAME,
    build_in_production,
    conversation,
    ftctl,
    write_repository,
)
from tests.real_model.trl_training import train_by_trl
from tests.real_model.watching import Cost, watched

TRAINING = "backends.local_gpu.training.train"
POINTS = 15
"""Losses of a curve that are printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A training by one program."""

    cost: Cost
    held_out_loss: float
    """Of its adapter, in PEFT."""


def main() -> None:
    """Train, compare, print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--download", action="store_true", help="download the model (90 MB)")
    arguments.add_argument("--trl", type=Path, help="the trl program")
    arguments.add_argument("--rounds", type=int, default=1, help="trainings by each, by turns")
    arguments.add_argument("--steps", type=int, help="train this many steps, and ask nothing")
    arguments.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    arguments.add_argument("--exports", action="store_true", help="ask the exports' programs")
    given = arguments.parse_args()
    if given.exports and given.steps is not None:
        arguments.error("--exports needs the whole training: leave --steps out")
    if given.download:
        fetch_model()
    if cached_model() is None:
        print("skipped: the model is not in its cache; add --download to fetch 90 MB")
        return
    with tempfile.TemporaryDirectory(prefix="ftctl-real-") as name:
        folder, ours, theirs = Path(name), [], []
        for number in range(given.rounds):
            root = folder / f"repository-{number}"
            ours.append(by_ftctl(root, given.dtype, given.steps))
            if given.trl is not None:
                theirs.append(
                    by_trl(given.trl, folder / f"trl-{number}", root, given.dtype, given.steps)
                )
        if theirs:
            compare(ours, theirs)
        if given.exports:
            compare_exports(folder / "repository-0", folder / "exports")


def by_ftctl(root: Path, dtype: str, steps: int | None) -> Trained:
    """Train by `ftctl apply`, and print what came of it."""
    write_repository(root, dtype=dtype, **({} if steps is None else {"max_steps": steps}))
    with watched(TRAINING, str(root)) as cost:
        if steps is None:
            ran = ftctl(root, "apply", "--auto-approve")
        else:
            ftctl(root, "apply", "--auto-approve", "--no-wait")
            ran = ftctl(root, "wait", NAME)
    (run,) = (root / ".ftctl" / "runs").iterdir()
    if steps is None:
        scores = build_in_production(root)["evaluation"]["scores"]
        for name in scores["candidate"]:
            print(
                f"{name:14} base {scores['base'][name]:.4g}, tuned {scores['candidate'][name]:.4g}"
            )
        print(f"ftctl apply: {ran.seconds:.0f} s, with the questions to both models")
    lines = [json.loads(line) for line in (run / "progress.jsonl").open(encoding="utf-8")]
    return shown("ftctl", cost, run / "model", root, [x["loss"] for x in lines if "loss" in x])


def by_trl(program: Path, folder: Path, root: Path, dtype: str, steps: int | None) -> Trained:
    """Train by `trl sft`, with the model of a repository, and print what came of it."""
    with watched(str(folder)) as cost:
        output = train_by_trl(program, folder, root, dtype, steps)
    # A line for each step: {'loss': '2.149', 'grad_norm': …
    losses = [line.split("'loss': ")[1] for line in output.splitlines() if "{'loss': " in line]
    curve = [float(one.split(",")[0].strip("'")) for one in losses]
    return shown("trl sft", cost, folder / "out", root, curve)


def shown(by: str, cost: Cost, adapter: Path, root: Path, curve: Sequence[float]) -> Trained:
    """Print a training, and return it."""
    loss = score(adapter, root / "models" / MODEL)
    print(
        f"{by:8} {cost.seconds:6.1f} s  CPU {cost.cpu_s:6.1f} s  peak {cost.peak_mb:5.0f} MB  "
        f"held-out loss {loss:.4f}"
    )
    every = max(1, len(curve) // POINTS)
    print("         loss " + " ".join(f"{one:.3f}" for one in curve[::every]), flush=True)
    return Trained(cost=cost, held_out_loss=loss)


def score(adapter: Path, base: Path) -> float:
    """Return the held-out loss of an adapter."""
    rows = "".join(json.dumps(conversation(row)) + "\n" for row in inquiries()[1])
    ended = subprocess.run(
        [sys.executable, "-m", "tests.real_model.scoring", str(adapter), str(base)],
        input=rows,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=child_environment(os.environ),
    )
    return float(ended.stdout)


def compare(ours: Sequence[Trained], theirs: Sequence[Trained]) -> None:
    """Print the ratios, each of the best round."""
    print(
        "ftctl / trl: "
        f"time {best(ours, 'seconds') / best(theirs, 'seconds'):.2f}, "
        f"CPU time {best(ours, 'cpu_s') / best(theirs, 'cpu_s'):.2f}, "
        f"peak memory {best(ours, 'peak_mb') / best(theirs, 'peak_mb'):.2f}, "
        f"held-out loss {ours[0].held_out_loss / theirs[0].held_out_loss:.3f}"
    )


def best(trained: Sequence[Trained], what: str) -> float:
    """Return the least of a cost."""
    return min(float(getattr(one.cost, what)) for one in trained)


if __name__ == "__main__":
    main()
