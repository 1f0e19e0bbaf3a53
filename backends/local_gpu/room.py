"""What a training needs of the disk, and whether it is there."""

import errno
import shutil
from pathlib import Path
from typing import Final

import torch

from backends.base import BackendError

_MOMENTS: Final = 8
"""Bytes that the optimiser keeps for each trained number."""
_GB: Final = 1e9
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_SAID: Final = ("No space left", "quota exceeded", "PytorchStreamWriter failed")
"""How libraries that hide the error number say that the disk is full."""


def checkpoint_size(model: torch.nn.Module) -> int:
    """Return the bytes of a checkpoint: what is trained, and what the optimiser knows of it."""
    return sum(
        weights.numel() * (weights.element_size() + _MOMENTS)
        for weights in model.parameters()
        if weights.requires_grad
    )


def trained_size(model: torch.nn.Module) -> int:
    """Return the bytes of what is trained."""
    return sum(
        weights.numel() * weights.element_size()
        for weights in model.parameters()
        if weights.requires_grad
    )


def free(folder: Path) -> int:
    """Return the bytes that a folder's disk has left for us."""
    return shutil.disk_usage(folder).free


def require_room(folder: Path, model: int) -> None:
    """Make sure, before the training, that its model can be written after it.

    Args:
        folder: Where to.
        model: Bytes of the model.

    Raises:
        BackendError: It cannot.
    """
    if (left := free(folder)) < model:
        raise BackendError(
            f"the trained model needs {in_words(model)}, and the disk of {folder} has "
            f"{in_words(left)} left",
            "make room, for example by deleting models that are not needed: "
            "then `ftctl retry NAME`",
        )


def is_about_room(error: Exception) -> bool:
    """Return whether something could not be written because the disk is full."""
    number = error.errno if isinstance(error, OSError) else None
    return number in _FULL or any(words in str(error) for words in _SAID)


def in_words(size: int) -> str:
    """Return a size for people."""
    return f"{size / _GB:.1f} GB" if 10 * size >= _GB else f"{size / 1e6:.1f} MB"
