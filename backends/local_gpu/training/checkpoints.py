"""Checkpoints of a training, with the measurements up to each."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from backends.contract.errors import BackendError
from backends.local_gpu.json_files import read_json

STATE: Final = "ftctl.json"
"""File in every checkpoint: the job of the checkpoint, and its measurements so far."""


@dataclass(slots=True)
class TrainingState:
    """Measurements so far; checkpoints contain them.

    Attributes:
        loss_sum: Sum of all steps' mean losses.
        held_out: Mean held-out loss before training, and at every measurement since.
        observed: What was observed on held-out examples at these measurements, besides the loss.
        seconds: Time spent training, without interruptions.
        halvings: How often batches were halved to fit the memory.
        measuring: Part of `seconds` spent measuring held-out examples.
        slots: Positions of all batches so far, with their padding.
        saving: Part of `seconds` spent writing checkpoints.
        best_step: Step of the lowest held-out loss, where that decides; 0 before it is known.
        best_loss: That loss.
        best_observed: What was observed with it.
        waited: Measurements since one that was better.
    """

    fingerprint: str
    attempt: int
    loss_sum: float = 0.0
    held_out: list[float] = field(default_factory=list)
    observed: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    measuring: float = 0.0
    halvings: int = 0
    slots: int = 0
    saving: float = 0.0
    best_step: int = 0
    best_loss: float | None = None
    best_observed: dict[str, float] = field(default_factory=dict)
    waited: int = 0


def newest_checkpoint(
    folder: Path, fingerprint: str, attempt: int
) -> tuple[Path, TrainingState] | None:
    """Return the newest complete checkpoint, and the measurements up to it.

    Raises:
        BackendError: Another job wrote the checkpoint.
    """
    for path in reversed(checkpoints(folder)):
        raw = read_json(path / STATE)
        if raw is None:
            continue
        state = TrainingState(**raw)
        if (state.fingerprint, state.attempt) != (fingerprint, attempt):
            raise BackendError(
                f"{path} belongs to another job ({state.fingerprint})",
                "Remove that folder: the job then starts from its beginning.",
            )
        return path, state
    return None


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint folders, oldest first."""
    found = [path for path in folder.glob("checkpoint-*") if path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))
