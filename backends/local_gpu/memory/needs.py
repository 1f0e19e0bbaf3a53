"""The memory that a job needs, in the words of a plan. Imports no training package."""

from collections.abc import Mapping
from typing import Any, Final

from backends.contract.errors import BackendError
from backends.contract.inspector import ExampleInspector
from backends.contract.jobs import Memory, TrainRequest
from backends.local_gpu.hardware import share_of
from backends.local_gpu.jobs.devices import is_cpu
from backends.local_gpu.memory.fit import Fit, Training, fit, longest_example, what_would_fit
from backends.local_gpu.memory.room import Room
from backends.local_gpu.memory.shape import Shape
from backends.local_gpu.memory.tile_size import ELEMENTS, ELEMENTS_ELSE
from backends.local_gpu.models.targets.trained_part import trained_part

_GB: Final = 2**30


def memory_of(
    request: TrainRequest, shape: Shape, inspector: ExampleInspector, room: Room | None
) -> Memory | None:
    """Return the memory that a job needs at its longest batch.

    Args:
        request: The job.
        shape: Its base model.
        inspector: Counts tokens.
        room: The memory of the device that it may run on, if known.

    Returns:
        None if the examples cannot be counted here.
    """
    settings: Mapping[str, Any] = request.hyperparameters
    try:
        longest = longest_example(request.train, inspector, _block(settings, shape))
    except (BackendError, OSError):
        return None
    if longest is None:
        return None
    on_gpu = room is not None and not is_cpu(room.device)
    training = Training(
        shape=shape,
        settings=settings,
        method=request.method,
        longest=longest,
        tile=ELEMENTS["cuda"] if on_gpu else ELEMENTS_ELSE,
        half=room is not None and room.half,
        gpus=request.hardware.gpus,
        on_host=room is not None and is_cpu(room.device),
    )
    usable = None if room is None else room.usable
    found = fit(training, usable)
    problem = remedy = ""
    if room is not None and not found.fits:
        problem, remedy = _refusal(training, found, room)
    process = 0 if room is None else room.process
    return Memory(
        needs=process + found.need.total,
        has=None if room is None else room.size,
        parts={
            **({"Python and torch": process} if process else {}),
            "weights": found.need.weights,
            "adapter": found.need.adapter,
            "gradients": found.need.gradients,
            "optimiser": found.need.optimiser,
            "activations": found.need.activations,
            **({"best weights": found.need.best} if found.need.best else {}),
        },
        remark=remark_of(found, training),
        problem=problem,
        remedy=remedy,
        trains=trained_part(shape.stored, settings),
    )


def _block(settings: Mapping[str, Any], shape: Shape) -> int | None:
    """Return the most tokens of a plain text that are read at once; None for conversations."""
    length: int | None = settings.get("max_length")
    return length if length is None or shape.longest is None else min(length, shape.longest)


def remark_of(found: Fit, training: Training) -> str:
    """Return the longest batch of a training, and what is done for it to fit."""
    parts = [f"{found.size} x {training.longest:,} tokens"]
    if training.gpus > 1:
        shared = "which share its weights" if found.sharded else "with all weights"
        parts[0] += f" on each of {training.gpus} devices, {shared}"
    share = share_of(training.method, training.settings, training.gpus)
    if share is not None and found.accumulation != share.accumulation:
        parts.append(f"accumulated {found.accumulation} times")
    if found.checkpointing.words:
        parts.append(found.checkpointing.words)
    return ", ".join(parts)


def _refusal(training: Training, found: Fit, room: Room) -> tuple[str, str]:
    where = "this machine" if is_cpu(room.device) else f"GPU {room.device}"
    problem = (
        f"training needs {(room.process + found.need.total) / _GB:.1f} GB of memory even with "
        f"batches of {found.size}, and {where} has {room.size / _GB:.1f} GB"
    )
    settings = what_would_fit(training, room.usable)
    if settings is None:
        return problem, _smaller(training.settings)
    return problem, f"Write `{settings}` in `hyperparameters`."


def _smaller(settings: Mapping[str, Any]) -> str:
    """Return the remedy where no setting makes a training fit."""
    choices = ["a smaller base model"]
    if settings.get("max_tokens_per_batch") is not None:
        choices.append("a lower `max_tokens_per_batch`")
    if "max_length" in settings:
        choices.append("a lower `max_length`")
    else:
        choices.append("shorter examples (`prepare: {max_tokens: ...}`)")
    *first, last = choices
    return f"Use {', '.join(first)}, or {last}."
