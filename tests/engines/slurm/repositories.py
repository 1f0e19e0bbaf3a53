"""A repository with one small fine-tune, and `ftctl` in it as its user types it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backends.local_gpu.json_files import read_lines
from tests.children import ROOT, child

SPEC = """\
backend: local-gpu
base_model: ../models/tiny
data:
  train:
    - path: data/faq.csv
      columns: {{user: question, assistant: answer}}
  held_out: {{fraction: 0.25}}
gate: []
hyperparameters: {{num_train_epochs: {epochs}, per_device_train_batch_size: 2}}
"""
SETTINGS = """\
machines:
  hpc:
    launcher: slurm
    runs: {runs}
    runtime: {{venv: {venv}}}
    devices: cpu
    environment:
      PYTHONPATH: {root}
      OMP_NUM_THREADS: "1"
      # Both nodes are this machine: a device for each.
      FTCTL_CPU_DEVICES: "4096,4096"
      FTCTL_SCRATCH: {scratch}
      FTCTL_LOST_AFTER_S: "20"
"""
ROWS = "question,answer\n" + "".join(f"Where is cafe {n}?,Down street {n}.\n" for n in range(24))


class Repository:
    """Types `ftctl`; trains here, or on the machine `hpc`."""

    def __init__(self, root: Path, base: Path, environment: dict[str, str]) -> None:
        self.root = root
        self.environment = {
            **os.environ,
            **environment,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "FTCTL_LOST_AFTER_S": "20",
        }
        (root / "finetunes" / "data").mkdir(parents=True)
        (root / "finetunes" / "data" / "faq.csv").write_text(ROWS)
        (root / "models").mkdir()
        (root / "models" / "tiny").symlink_to(base)
        self.runs = root / "shared"
        self.runs.mkdir()
        settings = {"runs": self.runs, "root": ROOT, "scratch": root / "scratch"}
        venv = Path(sys.executable).parent.parent
        (root / "ftctl.yaml").write_text(SETTINGS.format(venv=venv, **settings))

    def declare(self, hardware: str = "", epochs: int = 1) -> None:
        """Write the spec of the fine-tune."""
        placed = f"hardware: {{{hardware}}}\n" if hardware else ""
        text = SPEC.format(epochs=epochs) + placed
        (self.root / "finetunes" / "faq.yaml").write_text(text)

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of an `ftctl` command."""
        return [sys.executable, "-P", "-m", "controller", "--dir", str(self.root), *arguments]

    def __call__(self, *arguments: str, seconds: float = 900.0) -> tuple[int, str]:
        """Type a command; return exit code and output."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        return done.returncode, done.stdout + done.stderr

    @contextmanager
    def typed(self, *arguments: str) -> Iterator[subprocess.Popen]:
        """Type a command, and go on while it runs."""
        with (self.root / "output").open("ab") as output:
            options = {"env": self.environment, "stdout": output, "stderr": output}
            with child(self.command(*arguments), **options) as process:
                yield process

    def build(self) -> dict:
        """Return the only build of the lockfile."""
        lockfile = json.loads((self.root / "finetunes" / "ftctl.lock").read_text())
        (build,) = lockfile["finetunes"]["faq"]["builds"].values()
        return build

    def losses(self) -> dict:
        """Return the losses of the only run, by step and kind."""
        (path,) = (self.root / ".ftctl").rglob("progress.jsonl")
        return {
            (line["step"], kind): line[kind]
            for line in read_lines(path)
            for kind in ("loss", "held_out_loss")
            if kind in line
        }

    def has_trained(self, worker: int) -> bool:
        """Return whether a worker has reported a step to the shared folder."""
        parts = self.runs.glob(f"runs/*/progress/{worker:06}-*")
        return any(b'"loss":' in part.read_bytes() for part in parts)

    def workers(self) -> int:
        """Return the number of workers that have claimed the run."""
        return len([*self.runs.glob("runs/*/claims/*.json")])
