"""A repository with a tiny model, trained here or on a Ray cluster by the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from controller.lockfile.store import LOCKFILE
from tests.children import ROOT
from tests.engines.ray.cluster import Cluster
from tests.tiny_base import make_base

TOKEN = "RAY_TOKEN"
NAME = "cafe"
ROWS = 60
VENV = Path(sys.executable).parent.parent


class Story:
    """The repository.

    Attributes:
        root: Its folder.
        shared: Folder that it shares with the cluster.
    """

    def __init__(self, folder: Path, base: Path | None = None) -> None:
        self.root = folder / "repository"
        self.shared = folder / "shared"
        self.shared.mkdir(parents=True)
        self.base = base or make_base(folder / "base")
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "FTCTL_LOST_AFTER_S": "6",
        }

    def write(self, name: str, content: str) -> None:
        """Write a file of the repository."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def declare(self, hardware=None, **settings) -> None:
        """Write the spec and its data."""
        rows = (
            f"Is number {number} even?,{'yes' if number % 2 == 0 else 'no'}"
            for number in range(ROWS)
        )
        self.write("finetunes/data/rows.csv", "\n".join(["q,a", *rows]) + "\n")
        spec = {
            "backend": "local-gpu",
            "base_model": str(self.base),
            "data": {
                "train": [{"path": "data/rows.csv", "columns": {"user": "q", "assistant": "a"}}],
                "held_out": {"fraction": 0.2},
            },
            "hyperparameters": {"num_train_epochs": 3, **settings},
        }
        if hardware:
            spec["hardware"] = hardware
        self.write(f"finetunes/{NAME}.yaml", yaml.safe_dump(spec, allow_unicode=True))

    def use(self, cluster: Cluster, serve=None, **settings) -> None:
        """Declare the machine `cluster`, and what `ftctl serve` does."""
        machine = {
            "launcher": "ray",
            "address": cluster.url,
            "token_env": TOKEN,
            "runs": str(self.shared),
            "runtime": {"venv": str(VENV)},
            "devices": "cpu",
            "environment": {"OMP_NUM_THREADS": "1"},
            **settings,
        }
        declared = {"machines": {"cluster": machine}} | ({"serve": serve} if serve else {})
        self.write("ftctl.yaml", yaml.safe_dump(declared))
        self.environment[TOKEN] = cluster.token

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of ftctl in this repository."""
        return [sys.executable, "-m", "controller", "--dir", str(self.root), *arguments]

    def ftctl(self, *arguments: str, seconds: float = 300, codes=(0,)) -> str:
        """Run ftctl to its end; return its output."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode in codes, done.stdout
        return done.stdout

    def builds(self) -> dict[str, str]:
        """Return the recorded builds of the fine-tune: model ID by fingerprint."""
        lockfile = self.root / LOCKFILE
        if not lockfile.exists():
            return {}
        entry = json.loads(lockfile.read_text())["finetunes"].get(NAME, {})
        builds = entry.get("builds", {}).items()
        return {fingerprint: build["model_id"] for fingerprint, build in builds}

    def losses(self):
        """Return the losses of the only run, by step and kind."""
        [run] = self.runs()
        lines = [json.loads(line) for line in (run / "progress.jsonl").read_text().splitlines()]
        return {
            (line["step"], kind): line[kind]
            for line in lines
            for kind in ("loss", "held_out_loss")
            if kind in line
        }

    def runs(self) -> list[Path]:
        """Return the folders of runs on this machine."""
        return [path.parent for path in self.root.glob(".ftctl/runs/*/request.json")]
