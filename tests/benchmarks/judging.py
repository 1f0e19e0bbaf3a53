"""Judge 1,000 recorded builds again, by a gate of six conditions, from the lockfile alone.

    python tests/benchmarks/judging.py [--builds N]

The floor is reading the same lockfile.
"""

import argparse
import time

from controller.lockfile.model import (
    Build,
    Entry,
    Evaluation,
    Lockfile,
    dump_lockfile,
    parse_lockfile,
)
from controller.plan.verdicts import verdict_of
from controller.spec.model import Spec

GATE = [
    "accuracy >= 0.8",
    "accuracy > production.accuracy @ 95%",
    "accuracy >= base.accuracy - 0.01 @ 95%",
    "held_out_loss < base.held_out_loss @ 95%",
    "held_out_loss <= 2",
    "accuracy >= 0.7 @ 90%",
]
QUANTILES = tuple(-0.5 + place / 40 for place in range(17))
"""The 17 bounds of a number; see `controller.evaluate.statistics.confidence`."""


def main() -> None:
    """Print the times, in seconds of this process."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--builds", type=int, default=1000)
    given = arguments.parse_args()
    text = dump_lockfile(Lockfile(finetunes={f"faq-{n}": entry(n) for n in range(given.builds)}))
    spec = Spec.model_validate(
        {
            "backend": "local-gpu",
            "base_model": "acme/base",
            "data": {"train": [{"path": "a.jsonl"}], "held_out": {"fraction": 0.1}},
            "evaluation": {"metrics": ["accuracy"], "compare_to": ["base", "production"]},
            "gate": GATE,
        }
    )
    started = time.process_time()
    lockfile = parse_lockfile(text, "ftctl.lock")
    read_s = time.process_time() - started
    builds = [build for one in lockfile.finetunes.values() for build in one.builds.values()]
    started = time.process_time()
    passed = sum(verdict_of(spec, build.evaluation).passed for build in builds)
    judged_s = time.process_time() - started
    print(
        f"{given.builds:,} builds, {len(GATE)} conditions, lockfile of {len(text) / 1e6:.1f} MB: "
        f"read in {read_s:.2f} s, judged in {judged_s:.2f} s ({judged_s / read_s:.2f} of reading), "
        f"{passed:,} passed"
    )


def entry(number: int) -> Entry:
    """Return a fine-tune with one measured build."""
    right, wrong = 800 + number % 100, 200 - number % 100
    share = {"n": 1000, "right": right}
    loss = {"n": 1000, "quantiles": QUANTILES}
    pairs = {"n": 1000, "pairs": (700, right - 700, 60, wrong - 60)}
    evaluation = Evaluation(
        fingerprint="ev1:" + "0" * 64,
        inputs={},
        evaluated="2026-11-01T00:00:00Z",
        scores={
            "candidate": {"accuracy": right / 1000, "held_out_loss": 1.5},
            "base": {"accuracy": 0.76, "held_out_loss": 1.7},
            "production": {"accuracy": 0.76, "held_out_loss": 1.7},
        },
        samples={"candidate": {"accuracy": share, "held_out_loss": loss}},
        differences={
            role: {"accuracy": pairs, "held_out_loss": loss} for role in ("base", "production")
        },
    )
    fingerprint = f"ft1:{number:064x}"
    part = {"digest": "sha256:" + "0" * 64, "examples": 1000}
    build = Build(
        fingerprint=fingerprint,
        attempt=1,
        backend="local-gpu",
        job=f"job-{number}",
        model_id=f"ft:faq-{number}",
        inputs={},
        base_model="acme/base",
        data={"train": part, "held_out": part},
        facts={},
        submitted="2026-11-01T00:00:00Z",
        finished="2026-11-01T00:00:00Z",
        evaluation=evaluation,
    )
    return Entry(production=fingerprint, builds={fingerprint: build})


if __name__ == "__main__":
    main()
