"""Fit of a starting training onto its devices; see `memory.fit`."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from transformers import PreTrainedModel

from backends.contract.jobs import TrainRequest
from backends.local_gpu.hardware import Share, share_of
from backends.local_gpu.jobs.devices import CPU, DEVICE
from backends.local_gpu.memory.checkpointing import ways
from backends.local_gpu.memory.fit import Fit, Training, fit
from backends.local_gpu.memory.room import room_of
from backends.local_gpu.memory.shape import read_shape
from backends.local_gpu.memory.tile_size import ELEMENTS, ELEMENTS_ELSE
from backends.local_gpu.models.model_folders import load_model
from backends.local_gpu.training.parallel.parallel import Parallel, shard
from backends.local_gpu.training.parallel.world import World
from backends.local_gpu.training.start.checkpointing import checkpoint_layers

_AT_ONCE: Final = 0.6
"""Part of the machine's memory that whole models may take while processes take their shards."""


def fit_onto(
    base: Path,
    request: TrainRequest,
    longest: int,
    dtype: torch.dtype,
    where: torch.device,
    world: World,
) -> Fit | None:
    """Return how a training fits onto its devices, the same in every process.

    Args:
        base: Folder of the base model, which is not loaded yet.
        request: Request of the training.
        longest: Tokens of the longest row.
        dtype: Precision of the matrix work.
        where: The device of this process.
        world: The processes.

    Returns:
        None if the sizes of the model are not known.
    """
    shape = read_shape(base)
    if shape is None:
        return None
    training = Training(
        shape=shape,
        settings=request.hyperparameters,
        method=request.method,
        longest=longest,
        tile=ELEMENTS.get(where.type, ELEMENTS_ELSE),
        half=dtype != torch.float32,
        gpus=world.size,
        on_host=where.type == CPU,
    )
    usable = _usable(where.type)
    # The device with the least memory decides for all.
    (least,) = world.most(float("-inf") if usable is None else -usable)
    return fit(training, None if least == float("-inf") else int(-least))


def open_model(
    base: Path,
    request: TrainRequest,
    dtype: torch.dtype,
    where: torch.device,
    found: Fit | None,
    world: World,
) -> tuple[PreTrainedModel, Parallel]:
    """Load a model onto the devices of a job, whole or in shards.

    Args:
        base: Its folder.
        request: Request of the training.
        dtype: Precision of the matrix work.
        where: The device of this process.
        found: How the training fits.
        world: The processes.

    Raises:
        BackendError: The model cannot be opened.
    """
    settings = request.hyperparameters
    share = share_of(request.method, settings, world.size) or Share(accumulation=1)
    parallel = Parallel(world=world, share=share)
    quantization = settings.get("quantization")
    # A frozen base may have the computation's precision; trained weights need float32.
    kind = dtype if settings["finetuning_type"] == "lora" else torch.float32
    if found is None or not found.sharded:
        name = None if quantization is None else str(quantization)
        return load_model(base, kind, where, name), parallel
    # Only as many processes load the whole model at once as the machine's memory has room for.
    at_once = _at_once(base, world)
    turn = world.rank // at_once
    for _ in range(turn):
        world.wait()
    model = load_model(base, kind, torch.device("cpu"))
    root = shard(model, world, where)
    for _ in range(-(-world.size // at_once) - turn):
        world.wait()
    return model, replace(parallel, root=root)


def make_fit(
    model: PreTrainedModel,
    request: TrainRequest,
    found: Fit | None,
    parallel: Parallel,
    notify: Callable[[str], None],
) -> int:
    """Switch gradient checkpointing on if settings or memory ask for it, and size the batches.

    Args:
        model: The base model, loaded.
        request: Request of the training.
        found: How the training fits.
        parallel: The processes.
        notify: Receives messages for people.

    Returns:
        How often batches are to be halved.
    """
    wanted = str(request.hyperparameters.get("gradient_checkpointing", "auto"))
    if found is None:
        checkpoint_layers(model, ways(wanted)[0])
        return 0
    if found.sharded:
        notify(f"{parallel.world.size} devices share the weights: one has too little memory")
    checkpoint_layers(model, found.checkpointing)
    if found.checkpointing.words and wanted == "auto":
        notify(f"{found.checkpointing.words} is on: without it, the memory would not do")
    # Each halving doubles the accumulation.
    return (found.accumulation // parallel.share.accumulation).bit_length() - 1


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an error means that a device has too little memory."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "can't allocate" in str(error)


def _at_once(base: Path, world: World) -> int:
    """Return the number of processes that may have the whole model in the machine's memory."""
    shape, room = read_shape(base), room_of(CPU)
    if shape is None or room is None:
        return 1
    size = 4 * (shape.parameters + shape.beside)
    return max(1, min(world.size, int(_AT_ONCE * room.size) // size))


def _usable(where: str) -> int | None:
    """Return the bytes that a training may use on this process's device, loaded models included."""
    if where == "cuda":
        free, _ = torch.cuda.mem_get_info()
        return int(free) + int(torch.cuda.memory_reserved())
    room = room_of(os.environ.get(DEVICE, CPU))
    return None if room is None else room.usable
