"""Weights & Biases: a run with the ID of the record."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import wandb

from controller.errors import FtctlError
from controller.track.record import RunRecord

_STEP: Final = "curve/step"
_INIT_S: Final = 20
_NUMBERS_ONLY: Final = wandb.Settings(
    console="off",
    disable_code=True,
    disable_git=True,
    disable_job_creation=True,
    init_timeout=_INIT_S,
    save_code=False,
    silent=True,
    x_disable_machine_info=True,
    x_disable_meta=True,
    x_disable_stats=True,
    x_save_requirements=False,
)
"""Send the record alone: no output, program, git remote, packages or figures of the machine."""


def write(settings: Mapping[str, Any], records: Sequence[RunRecord], state: Path) -> dict[str, str]:
    """Create each run, or complete the run of an earlier call.

    Raises:
        FtctlError: `WANDB_MODE` is `disabled`.
    """
    mode = os.environ.get("WANDB_MODE", "").lower()
    if mode == "disabled":
        remedy = "Remove it from the environment, or `tracking.wandb` from ftctl.yaml."
        raise FtctlError("WANDB_MODE is `disabled`, so nothing is written", remedy)
    folder = Path(os.environ.get("WANDB_DIR") or state)
    folder.mkdir(parents=True, exist_ok=True)
    return {record.key: _write_run(settings, record, folder) for record in records}


def _write_run(settings: Mapping[str, Any], record: RunRecord, folder: Path) -> str:
    earlier = list((folder / "wandb").glob(f"offline-run-*-{record.key}"))
    run = wandb.init(
        project=settings["project"],
        entity=settings["entity"],
        id=record.key,
        name=record.name,
        resume="allow",
        dir=str(folder),
        settings=_NUMBERS_ONLY,
    )
    run.config.update({**record.parameters, **record.tags}, allow_val_change=True)
    if not run.step:
        # The server has the losses of a run that goes on.
        run.define_metric(_STEP, hidden=True)
        run.define_metric("curve/*", step_metric=_STEP)
        for step, numbers in record.curve:
            run.log({_STEP: step, **numbers})
    run.summary.update(dict(record.scores))
    link = run.url or str(Path(run.dir).parent)
    run.finish()
    if run.offline:
        _remove_replaced(earlier)
    return link


def _remove_replaced(folders: Sequence[Path]) -> None:
    """Remove files of an earlier call that were not sent: the new ones hold the whole run."""
    for folder in folders:
        if not list(folder.glob("*.synced")):
            shutil.rmtree(folder, ignore_errors=True)
