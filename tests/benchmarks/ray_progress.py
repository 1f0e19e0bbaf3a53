"""What it costs a training on a Ray cluster that its progress, log and checkpoints are shared.

    .venv-ray/bin/python -m tests.benchmarks.ray_progress [--epochs 300]

`make test-ray` makes that Python. The training writes on its own machine; its worker, a process of
its own, brings that to the shared folder, once a second at most. Prints the worker's processor time
as a share of the training's, from the first reported step to the last: what the training would lose
if both had one core.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.children import child
from tests.engines.ray.cluster import Cluster
from tests.engines.ray.story import Story

GOAL: Final = 0.01
_WORKER: Final = "machines.worker"
_TRAINING: Final = "training.train"


def main(arguments: list[str]) -> int:
    """Train, measure and print; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=300)
    options = parser.parse_args(arguments)
    if find_spec("ray") is None:
        print("Ray is not installed in this Python: make test-ray, then .venv-ray/bin/python")
        return 0
    with tempfile.TemporaryDirectory(prefix="ray-progress-") as folder, Cluster() as cluster:
        story = Story(Path(folder))
        story.use(cluster)
        story.declare({"machine": "cluster"}, num_train_epochs=options.epochs)
        begun, last = {}, {}
        with child(
            story.command("apply", "--auto-approve"),
            env=story.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as apply:
            while apply.poll() is None:
                if [*story.shared.glob("runs/*/progress/*")]:
                    # What was used before the first report is start-up.
                    now = cpu_s(cluster)
                    begun = begun or now
                    last |= {kind: seconds for kind, seconds in now.items() if seconds}
                time.sleep(0.2)
        steps = max(step for step, _ in story.losses())
    used = {kind: last.get(kind, 0.0) - begun.get(kind, 0.0) for kind in (_WORKER, _TRAINING)}
    share = used[_WORKER] / used[_TRAINING]
    print(
        f"{steps} steps: training {used[_TRAINING]:.1f} s of processor time, "
        f"its worker {used[_WORKER]:.2f} s: {share:.2%} (goal at most {GOAL:.0%})"
    )
    return 1 if share > GOAL else 0


def cpu_s(cluster: Cluster) -> dict[str, float]:
    """Return the processor time of the worker and of its training."""
    found = {}
    for pid, line in cluster.processes().items():
        for kind in (_WORKER, _TRAINING):
            if f"{kind} " in f"{line} ":
                found[kind] = found.get(kind, 0.0) + _of_process(pid)
    return found


def _of_process(pid: int) -> float:
    try:
        # Behind the name in brackets: 11 and 12 are user and system ticks.
        numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
