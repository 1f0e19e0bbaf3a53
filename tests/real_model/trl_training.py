"""The same training by the command line of TRL."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from backends.local_gpu.jobs.child_process import child_environment
from tests.real_model.inquiries import Inquiry, inquiries
from tests.real_model.model import NAME as MODEL
from tests.real_model.repository import SETTINGS, conversation


def train_by_trl(program: Path, folder: Path, root: Path, dtype: str, steps: int | None) -> str:
    """Train by `trl sft`; return what it printed.

    Args:
        program: The `trl` program.
        folder: A new folder, for data, settings, and the adapter in `out`.
        root: A repository that holds the model.
        dtype: Precision of the matrix work.
        steps: Steps to train; None for the whole epoch.
    """
    (folder / "data").mkdir(parents=True)
    for split, rows in zip(("train", "test"), inquiries(), strict=True):
        _write(folder / "data" / f"{split}.jsonl", rows)
    config = {
        "model_name_or_path": str(root / "models" / MODEL),
        "dataset_name": str(folder / "data"),
        "output_dir": str(folder / "out"),
        "num_train_epochs": SETTINGS["num_train_epochs"],
        "max_steps": -1 if steps is None else steps,
        "per_device_train_batch_size": SETTINGS["per_device_train_batch_size"],
        "per_device_eval_batch_size": SETTINGS["per_device_train_batch_size"],
        "learning_rate": SETTINGS["learning_rate"],
        "lr_scheduler_type": SETTINGS["lr_scheduler_type"],
        "use_peft": True,
        "lora_r": SETTINGS["r"],
        "lora_alpha": SETTINGS["lora_alpha"],
        "lora_dropout": SETTINGS["lora_dropout"],
        "lora_target_modules": "all-linear",
        "use_rslora": SETTINGS["use_rslora"],
        "eval_on_start": True,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "seed": 42,
        "use_cpu": True,
        "bf16": dtype == "bfloat16",
        # What suits this machine best; by its defaults it would be slower.
        "dtype": dtype,
        "gradient_checkpointing": False,
    }
    (folder / "trl.yaml").write_text(json.dumps(config))
    ended = subprocess.run(
        [str(program), "sft", "--config", str(folder / "trl.yaml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=child_environment(os.environ) | {"HF_HUB_OFFLINE": "1"},
        check=False,
        timeout=3600,
    )
    if ended.returncode != 0:
        sys.exit(f"trl sft: exit code {ended.returncode}\n{ended.stdout[-3000:]}")
    return ended.stdout


def _write(path: Path, rows: Sequence[Inquiry]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            *prompt, completion = conversation(row)
            file.write(json.dumps({"prompt": prompt, "completion": [completion]}) + "\n")
