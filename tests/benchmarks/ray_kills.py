"""A fine-tune on a real Ray cluster, of which something is killed with SIGKILL at a random moment.

    .venv-ray/bin/python -m tests.benchmarks.ray_kills --rounds 40

`make test-ray` makes that Python. Each round trains the same spec from nothing, with `ftctl apply`, and
kills what `--kill` names or chance chooses: the training, its worker, Ray's supervisor of the job, a
raylet, the head, or ftctl itself. What a person would start again is started again. At the end of a round
there is one result, no step counts twice, and the losses are those of an undisturbed training.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.children import child
from tests.engines.ray.cluster import HEAD, WORKER, Cluster
from tests.engines.ray.story import Story

_TRAINING: Final = "training[./]train|jobs[./]device_queue|jobs[./]ranks"
VICTIMS: Final = ("training", "worker", "supervisor", "raylet", "head", "controller")
_EPOCHS: Final = 15
_LATEST_S: Final = 20.0
"""A training takes about as long, from the claim of its worker on."""
_APPLY_S: Final = 600.0


class Round:
    """One training and one kill."""

    def __init__(self, cluster: Cluster, story: Story, chance: random.Random) -> None:
        self.cluster = cluster
        self.story = story
        self.chance = chance
        self.output = ""

    def run(self, victim: str, after_s: float) -> bool:
        """Train, kill, and train to the end; return whether there was something to kill."""
        log = self.story.root / "apply.log"
        with (
            log.open("wb") as written,
            child(
                self.story.command("apply", "--auto-approve"),
                env=self.story.environment,
                stdout=written,
                stderr=subprocess.STDOUT,
            ) as controller,
        ):
            self._wait_for_claim(controller)
            time.sleep(after_s)
            killed = self._kill(victim, controller)
            self._restore(victim)
            if victim != "controller":
                try:
                    controller.wait(timeout=_APPLY_S)
                except subprocess.TimeoutExpired:
                    controller.kill()
        self.output = log.read_text()
        for _ in range(6):
            if self._is_recorded():
                break
            # As a person, or the next run of `reconcile`, does after an interruption.
            self.output += self.story.ftctl(
                "apply", "--auto-approve", seconds=_APPLY_S, codes=range(256)
            )
        return killed

    def problems(self, reference) -> list[str]:
        """Return what is wrong at the end of a round."""
        found = []
        if not self._is_recorded():
            return [f"no build is recorded:\n{self.output[-1500:]}"]
        if len(self.story.runs()) != 1:
            return [f"runs: {', '.join(map(str, self.story.runs()))}\n{self.output[-1500:]}"]
        results = [*self.story.shared.glob("runs/*/result.json")]
        if len(results) != 1:
            found.append(f"{len(results)} results")
        losses = self.story.losses()
        if losses != reference:
            wrong = [key for key in reference if losses.get(key) != reference[key]]
            found.append(f"{len(wrong)} losses differ, first {wrong[:1]}")
        return found

    def facts(self) -> dict[str, int]:
        """Return the number of workers, and of steps that were done again."""
        [result] = self.story.shared.glob("runs/*/result.json")
        text = result.read_text()
        return {
            key: int(found[1])
            for key in ("workers", "steps_lost")
            if (found := re.search(rf'"{key}": ?(\d+)', text))
        }

    def _is_recorded(self) -> bool:
        return bool(self.story.builds())

    def _wait_for_claim(self, controller) -> None:
        end = time.monotonic() + 120
        while not [*self.story.shared.glob("runs/*/claims/*")]:
            assert time.monotonic() < end, "no worker has begun"
            assert controller.poll() is None, "ftctl has ended"
            time.sleep(0.1)

    def _kill(self, victim: str, controller) -> bool:
        if victim == "controller":
            running = controller.poll() is None
            controller.kill()
            return running
        if victim in {"raylet", "head"}:
            words = "raylet/raylet" if victim == "raylet" else "gcs/gcs_server"
            self.cluster.kill(words, WORKER if victim == "raylet" else HEAD)
            return True
        words = {
            "training": _TRAINING,
            "worker": r"machines\.worker",
            "supervisor": "^ray::JobSupervisor",
        }[victim]
        found = self.cluster.processes(words=words)
        for pid in found:
            self.cluster.kill_id(pid)
        return bool(found)

    def _restore(self, victim: str) -> None:
        if victim == "head":
            # Workers end with their head, as Ray decides; then both are started again.
            time.sleep(2)
            self.cluster.restart()
        elif victim == "raylet":
            self.cluster.start_worker()


def main(arguments: list[str]) -> int:
    """Run the rounds, and print what came of them; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill", choices=VICTIMS)
    options = parser.parse_args(arguments)
    if find_spec("ray") is None:
        print("Ray is not installed in this Python: make test-ray, then .venv-ray/bin/python")
        return 0
    chance, outcomes, bad = random.Random(options.seed), Counter(), 0
    with tempfile.TemporaryDirectory(prefix="ray-kills-") as folder, Cluster() as cluster:
        first = _story(Path(folder) / "reference", cluster, None)
        first.ftctl("apply", "--auto-approve", seconds=_APPLY_S)
        reference = first.losses()
        steps = max(step for step, _ in reference)
        print(f"undisturbed: {steps} steps", flush=True)
        for number in range(options.rounds):
            victim = options.kill or chance.choice(VICTIMS)
            after_s = chance.uniform(0, _LATEST_S)
            story = _story(Path(folder) / str(number), cluster, first.base)
            done = Round(cluster, story, chance)
            started = time.monotonic()
            killed = done.run(victim, after_s)
            problems = done.problems(reference)
            facts = {} if problems else done.facts()
            outcomes[victim, killed] += 1
            bad += bool(problems)
            told = "; ".join(problems) or f"one result; {json.dumps(facts)}"
            print(
                f"round {number}: {victim} after {after_s:.1f} s"
                f"{'' if killed else ' (had ended)'}, {time.monotonic() - started:.0f} s: {told}",
                flush=True,
            )
    for (victim, killed), count in sorted(outcomes.items()):
        print(f"{victim}{'' if killed else ', which had ended'}: {count}")
    print(f"{options.rounds} rounds, {bad} with problems")
    return 1 if bad else 0


def _story(folder: Path, cluster: Cluster, base: Path | None) -> Story:
    story = Story(folder, base)
    story.use(cluster, environment={"OMP_NUM_THREADS": "1", "FTCTL_CHECKPOINT_SECONDS": "4"})
    story.declare({"machine": "cluster"}, num_train_epochs=_EPOCHS)
    return story


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
