"""Disk space that a training needs, and checks that it is free."""

import errno
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

import torch

from backends.contract.errors import BackendError

_MOMENTS: Final = 8
"""Bytes that the optimiser stores for each trained number."""
_GB: Final = 1e9
_SAMPLE: Final = 32 * 2**20
"""Bytes that are written to measure a disk."""
_WORTH: Final = 8 * _SAMPLE
"""Least bytes of a checkpoint for which a disk is measured."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_SAID: Final = ("No space left", "quota exceeded", "PytorchStreamWriter failed")
"""Messages of libraries that hide the error number of a full disk."""


def checkpoint_size(model: torch.nn.Module) -> int:
    """Return the bytes of a checkpoint: trained weights and the optimiser's state."""
    return sum(
        weights.numel() * (weights.element_size() + _MOMENTS)
        for weights in model.parameters()
        if weights.requires_grad
    )


def trained_size(model: torch.nn.Module) -> int:
    """Return the bytes of the trained weights."""
    return sum(
        weights.numel() * weights.element_size()
        for weights in model.parameters()
        if weights.requires_grad
    )


def free(folder: Path) -> int:
    """Return the free bytes of a folder's disk."""
    return shutil.disk_usage(folder).free


def require_room(folder: Path, model: int) -> None:
    """Require, before the training, that the disk has room for the trained model.

    Args:
        folder: Folder to write to.
        model: Bytes of the model.

    Raises:
        BackendError: The disk has too little room.
    """
    if (left := free(folder)) < model:
        raise BackendError(
            f"the trained model needs {in_words(model)}, and the disk of {folder} has "
            f"{in_words(left)} left",
            "Make room, for example by deleting models that are not needed: "
            "then `ftctl retry NAME`.",
        )


def write_speed(folder: Path, checkpoint: int) -> float | None:
    """Return how many bytes a disk writes in a second, by a sample.

    Args:
        folder: Folder to write to.
        checkpoint: Bytes of a checkpoint; a small one is not worth a sample.

    Returns:
        None if that was not measured.
    """
    if checkpoint < _WORTH:
        return None
    sample = os.urandom(_SAMPLE)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            began = time.monotonic()
            file.write(sample)
            file.flush()
            os.fsync(file.fileno())
            return _SAMPLE / max(time.monotonic() - began, 1e-6)
    except OSError:
        return None


def without_checkpoint(folder: Path, size: int) -> str:
    """Return that the disk has no room for a checkpoint of some bytes, for people."""
    return (
        f"no room for a checkpoint of {in_words(size)} beside the model to come: "
        f"{in_words(free(folder))} are left; an interrupted training continues from the "
        "checkpoint before, or from its beginning"
    )


def is_about_room(error: Exception) -> bool:
    """Return True if an error means that the disk is full."""
    number = error.errno if isinstance(error, OSError) else None
    return number in _FULL or any(words in str(error) for words in _SAID)


def in_words(size: int) -> str:
    """Return a size in readable units."""
    return f"{size / _GB:.1f} GB" if 10 * size >= _GB else f"{size / 1e6:.1f} MB"
