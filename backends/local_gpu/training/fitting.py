"""Fit of a starting training onto its device; see `memory.fit`."""

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from backends.contract.jobs import TrainRequest
from backends.local_gpu.jobs.devices import CPU
from backends.local_gpu.memory.fit import Training, fit
from backends.local_gpu.memory.room import room_of
from backends.local_gpu.memory.shape import read_shape
from backends.local_gpu.memory.tile_size import ELEMENTS, ELEMENTS_ELSE


def make_fit(
    model: PreTrainedModel,
    base: Path,
    request: TrainRequest,
    longest: int,
    dtype: torch.dtype,
    notify: Callable[[str], None],
) -> int:
    """Switch gradient checkpointing on if settings or memory ask for it, and size the batches.

    Args:
        model: The base model, loaded.
        base: Its folder.
        request: Request of the training.
        longest: Tokens of the longest row.
        dtype: Precision of the matrix work.
        notify: Receives messages for people.

    Returns:
        How often batches are to be halved.
    """
    settings = request.hyperparameters
    shape = read_shape(base)
    if shape is None:
        if settings.get("gradient_checkpointing") == "on":
            checkpoint_layers(model)
        return 0
    where = model.device.type
    training = Training(
        shape=shape,
        settings=settings,
        method=request.method,
        longest=longest,
        tile=ELEMENTS.get(where, ELEMENTS_ELSE),
        half=dtype != torch.float32,
        on_host=where == CPU,
    )
    found = fit(training, _usable(where))
    if found.checkpointing:
        checkpoint_layers(model)
        if settings.get("gradient_checkpointing") != "on":
            notify("gradient checkpointing is on: without it, the memory would not do")
    # Each halving doubles the accumulation.
    written = int(str(settings["gradient_accumulation_steps"]))
    return (found.accumulation // written).bit_length() - 1


def checkpoint_layers(model: PreTrainedModel) -> None:
    """Keep only the input of each layer for backpropagation, and compute the layer again."""
    # Its former name is deprecated, and the newer one is missing before transformers 5.23.
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an error means that a device has too little memory."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "can't allocate" in str(error)


def _usable(where: str) -> int | None:
    """Return the bytes that a training may use on this process's device, loaded models included."""
    if where == "cuda":
        free, _ = torch.cuda.mem_get_info()
        return int(free) + int(torch.cuda.memory_reserved())
    room = room_of(CPU)
    return None if room is None else room.usable
