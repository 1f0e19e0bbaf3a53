"""Pushes to a store and pulls from it, killed with SIGKILL at random moments.

    python tests/benchmarks/store_kills.py --rounds 500

Each round is a process that pushes a model of several pieces or pulls it, and is killed at any moment
of the time that this takes. After each kill the store holds no piece that is not whole and no build
that cannot be pulled, and the machine that pulls has no model that is not whole. At the end a push
and a pull run to their ends: the model arrives as it was, and in the store is each piece once. What a
killed process leaves are marks of its push and partial files, which lose their force with age.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backends.contract.jobs import BaseModel, JobState, TrainRequest
from backends.stores.folder import FolderStore
from backends.stores.manifest import Manifest, parse_manifest
from backends.stores.objects import BUILDS, OBJECTS, digest_of, piece_key
from backends.testing import ScriptedBackend
from controller.lockfile.model import Build, Stored
from controller.project.project import Project
from controller.spec.sections.store import StoreSettings
from controller.store.builds import ModelStore, fetch_build, push_build
from controller.store.progress import unreported

FINGERPRINT: Final = f"ft1:{'c' * 64}"
BASE: Final = BaseModel(reference="acme/base", revision=None, identity="acme/base")
_WEIGHTS: Final = 1_200_000
"""Repetitions of the model's ID in its weights, which have about 31 MB: four pieces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """Counts of all rounds together."""

    pushes: int
    pulls: int
    under_way: int
    """Kills of processes that had not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """Two machines and a shared folder."""

    root: Path

    def machine(self, name: str) -> ScriptedBackend:
        return ScriptedBackend(self.root / name, weights=_WEIGHTS)

    @property
    def shared(self) -> FolderStore:
        return FolderStore(self.root / "shared")

    @property
    def record(self) -> Path:
        """What the lockfile holds of the store."""
        return self.root / "stored.json"

    def store(self, name: str) -> ModelStore:
        project = Project(root=self.root, state=self.root / name)
        return ModelStore(
            project=project, settings=StoreSettings(url=str(self.root / "shared"), private=True)
        )

    def build(self) -> Build:
        stored = None
        if self.record.exists():
            stored = Stored(**json.loads(self.record.read_text()))
        part = {"digest": "sha256:0", "examples": 1}
        (model,) = self.machine("trains").models()
        return Build.model_validate(
            {
                "fingerprint": FINGERPRINT,
                "attempt": 1,
                "backend": "scripted",
                "job": "job-1",
                "model_id": model,
                "inputs": {},
                "base_model": BASE.reference,
                "data": {"train": part, "held_out": part},
                "facts": {},
                "submitted": "2026-11-20T09:00:00Z",
                "finished": "2026-11-20T10:00:00Z",
                "stored": stored,
            }
        )

    def train(self) -> None:
        nothing = self.root / "nothing"
        nothing.touch()
        trainer = self.machine("trains")
        trainer.script = [JobState.SUCCEEDED]
        trainer.submit(
            TrainRequest(
                name="faq",
                fingerprint=FINGERPRINT,
                attempt=1,
                base_model=BASE,
                method="supervised",
                hyperparameters={},
                seed=1,
                train=nothing,
                held_out=nothing,
                train_origins=nothing,
            )
        )

    def push(self) -> None:
        store, backend = self.store("trains"), self.machine("trains")
        stored = push_build(store, self.build(), backend, unreported)
        unfinished = self.root / "stored.tmp"
        unfinished.write_text(stored.model_dump_json())
        unfinished.replace(self.record)

    def pull(self) -> None:
        store, backend = self.store("asks"), self.machine("asks")
        fetch_build(store, self.build(), BASE, backend, unreported)

    def forget(self, way: str) -> None:
        """Undo what a push or a pull has done, so that the next one has all to do again."""
        if way == "push":
            shutil.rmtree(self.root / "shared")
            (self.root / "shared").mkdir()
            self.record.unlink(missing_ok=True)
        shutil.rmtree(self.root / "asks", ignore_errors=True)

    def manifests(self) -> list[Manifest]:
        keys = [one.key for one in self.shared.find(BUILDS)]
        return [parse_manifest(self.shared.read(key) or b"", key) for key in keys]

    def require_whole(self) -> None:
        """Require that nothing can be seen that is not whole."""
        for one in self.shared.find(OBJECTS):
            assert piece_key(digest_of(self.shared.read(one.key) or b"")) == one.key
        for manifest in self.manifests():
            assert all(self.shared.has(piece_key(digest)) for digest in manifest.pieces)
        assert self.machine("asks").models() <= self.machine("trains").models()

    def weights(self, name: str) -> bytes:
        backend = self.machine(name)
        (model,) = backend.models()
        return (backend.write_files(model).folder / "model/weights.bin").read_bytes()


def kill_rounds(root: Path, *, rounds: int, seed: int) -> Killed:
    """Kill pushes and pulls, and verify what is left after each kill.

    Args:
        root: An empty folder.
        rounds: Number of kills.
        seed: Seed of the moments.
    """
    world, chance = _World(root=root), random.Random(seed)
    (root / "shared").mkdir()
    world.train()
    took = {"push": _run(world.push), "pull": _run(world.pull)}
    counts, under_way = {"push": 0, "pull": 0}, 0
    for number in range(rounds):
        way = ("push", "pull")[number % 2]
        if way == "pull" and not world.record.exists():
            _run(world.push)
        if chance.random() < 0.5:
            world.forget(way)
        counts[way] += 1
        action = world.push if way == "push" else world.pull
        under_way += _killed(action, chance.random() * 1.2 * took[way])
        world.require_whole()
    _run(world.push)
    shutil.rmtree(root / "asks", ignore_errors=True)
    _run(world.pull)
    world.require_whole()
    assert world.weights("asks") == world.weights("trains")
    (manifest,) = world.manifests()
    pieces = sorted(one.key for one in world.shared.find(OBJECTS))
    assert pieces == sorted(piece_key(digest) for digest in manifest.pieces)
    return Killed(pushes=counts["push"], pulls=counts["pull"], under_way=under_way)


def _start(action: Callable[[], None]) -> int:
    """Run an action in a process of its own, which has everything imported; return its ID."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return process


def _run(action: Callable[[], None]) -> float:
    """Run an action to its end; return its seconds."""
    began_s = time.monotonic()
    _, status = os.waitpid(_start(action), 0)
    assert status == 0
    return time.monotonic() - began_s


def _killed(action: Callable[[], None], after_s: float) -> bool:
    """Kill an action; return whether it had not ended."""
    process = _start(action)
    time.sleep(after_s)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    assert status in {0, signal.SIGKILL}
    return status != 0


def main() -> None:
    """Kill as often as asked, and print the counts."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=100)
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(kill_rounds(Path(folder), rounds=asked.rounds, seed=asked.seed))


if __name__ == "__main__":
    sys.exit(main())
