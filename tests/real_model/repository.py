"""A repository that fine-tunes the real model on a bank's inquiries, and ftctl's commands in it."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.real_model.inquiries import Inquiry, inquiries, labels, write_inquiries
from tests.real_model.model import NAME as MODEL
from tests.real_model.model import place_model

NAME: Final = "bank-inquiries"
SYSTEM: Final = f"Name the topic of the bank customer's message: {', '.join(labels())}."
SETTINGS: Final[dict[str, Any]] = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": 8,
    "learning_rate": 5e-4,
    "lr_scheduler_type": "linear",
    "r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.0,
    "use_rslora": True,
}
_ROOT: Final = Path(__file__).parents[2]
_SPEC: Final = """\
description: Names the topic of a bank customer's message.
backend: local-gpu
base_model: ../models/{model}

data:
  train:
    - path: data/bank-inquiries.csv
      columns: {{user: message, assistant: topic}}
  held_out:
    - path: data/bank-inquiries-held-out.csv
      columns: {{user: message, assistant: topic}}
  system: >-
    {system}
  license: Apache-2.0

hyperparameters: {settings}

evaluation:
  metrics:
    - accuracy: {{labels: [{labels}]}}
  compare_to: [base]
  max_tokens: 16

gate:
  - accuracy >= base.accuracy + 0.3
  - held_out_loss < base.held_out_loss
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A command that ended well."""

    output: str
    seconds: float


def write_repository(root: Path, **settings: object) -> None:
    """Write the repository: `ftctl init`, the model, the data, and a spec.

    Args:
        root: A folder that does not exist.
        settings: Hyperparameters that differ from `SETTINGS`.
    """
    ftctl(root, "init", str(root))
    for path in (root / "finetunes").rglob("opening-hours.*"):
        path.unlink()
    place_model(root / "models" / MODEL)
    train, held_out = inquiries()
    data = root / "finetunes" / "data"
    write_inquiries(data / "bank-inquiries.csv", train)
    write_inquiries(data / "bank-inquiries-held-out.csv", held_out)
    text = _SPEC.format(
        model=MODEL,
        system=SYSTEM,
        settings=json.dumps(SETTINGS | settings),
        labels=", ".join(labels()),
    )
    (root / "finetunes" / f"{NAME}.yaml").write_text(text, encoding="utf-8")


def ftctl(root: Path, *arguments: str, shown: bool = False) -> Ran:
    """Run a command of ftctl in a repository; end this program if it fails.

    Args:
        root: The repository.
        arguments: The command.
        shown: True to show what it prints while it runs.
    """
    command = [sys.executable, "-m", "controller", "--dir", str(root), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "FTCTL_STATE_DIR": ""}
    began = time.monotonic()
    ended = subprocess.run(
        command,
        env=environment,
        stdout=None if shown else subprocess.PIPE,
        stderr=None if shown else subprocess.STDOUT,
        text=True,
        check=False,
        timeout=3600,
    )
    if ended.returncode != 0:
        sys.exit(f"ftctl {' '.join(arguments)}: exit code {ended.returncode}\n{ended.stdout or ''}")
    return Ran(output=ended.stdout or "", seconds=time.monotonic() - began)


def shown(root: Path) -> dict[str, Any]:
    """Return all that ftctl shows of the fine-tune."""
    found: dict[str, Any] = json.loads(ftctl(root, "show", NAME, "--json").output)
    return found


def build_in_production(root: Path) -> dict[str, Any]:
    """Return what the lockfile records of the build in production."""
    found = shown(root)
    build: dict[str, Any] = found["builds"][found["production"]]
    return build


def conversation(row: Inquiry) -> list[dict[str, str]]:
    """Return an inquiry as the model reads it, with its answer last."""
    turns = (("system", SYSTEM), ("user", row.text), ("assistant", row.label))
    return [{"role": role, "content": text} for role, text in turns]
