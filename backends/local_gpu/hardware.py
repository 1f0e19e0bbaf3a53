"""The share of one process in each step of a training on several devices. Pure.

The examples of a step are part of what is trained, and stay the same on any number of devices. Whole
batches go to the devices where their number allows that, else smaller batches of the same examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from backends.contract.errors import FieldProblem
from backends.contract.methods import KTO

_MOST: Final = 64
"""Most devices that a job may ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Work of one process in a whole step."""

    accumulation: int
    """Batches that it computes, one after the other."""
    size: int | None = None
    """Examples of each, of which the settings' own batches have more; None for these themselves."""


def share_of(method: str, settings: Mapping[str, Any], gpus: int) -> Share | None:
    """Return the share of each of some devices; None if the examples of a step cannot be divided.

    Args:
        method: Training method.
        settings: Complete hyperparameters.
        gpus: Number of devices.
    """
    batches = int(settings["gradient_accumulation_steps"])
    if batches % gpus == 0:
        return Share(accumulation=batches // gpus)
    size = settings.get("per_device_train_batch_size")
    # The loss of `kto` depends on which answers share a batch.
    if size is None or method == KTO.name or batches * int(size) % gpus:
        return None
    each = batches * int(size) // gpus
    largest = next(one for one in range(min(int(size), each), 0, -1) if each % one == 0)
    return Share(accumulation=each // largest, size=largest)


def hardware_problem(method: str, settings: Mapping[str, Any], gpus: int) -> FieldProblem | None:
    """Return the problem of a number of devices among which no step can be divided, if it is one.

    Args:
        method: Training method.
        settings: Complete hyperparameters.
        gpus: Number of devices.
    """
    if share_of(method, settings, gpus) is not None:
        return None
    batches, size = (
        settings.get(key) for key in ("gradient_accumulation_steps", "per_device_train_batch_size")
    )
    if size is None:
        step = f"the {batches} batches of a step (gradient_accumulation_steps)"
    elif method == KTO.name:
        step = f"the {batches} batches of a step (gradient_accumulation_steps), whole with `kto`,"
    else:
        step = (
            f"the {batches * size} examples of a step (per_device_train_batch_size {size} x "
            f"gradient_accumulation_steps {batches})"
        )
    fitting = [str(n) for n in range(1, _MOST + 1) if share_of(method, settings, n) is not None]
    return FieldProblem(
        field="gpus",
        message=f"{step} cannot be divided among {gpus} GPUs",
        remedy=f"Use one of: {', '.join(fitting)}. Or change these hyperparameters, which trains "
        "another build.",
    )
