"""Errors that end a training, for people."""

import shutil
from decimal import ROUND_CEILING, Context
from typing import Final

from backends.contract.errors import BackendError
from backends.contract.jobs import TrainRequest
from backends.local_gpu.jobs.run_dir import RunDir
from backends.local_gpu.training.start.fitting import is_out_of_memory
from backends.local_gpu.training.trainer import LabelledTrainer

_TWO_DIGITS: Final = Context(prec=2, rounding=ROUND_CEILING)


def used_up(
    request: TrainRequest, trainer: LabelledTrainer, spent_s: float, run: RunDir
) -> BackendError:
    """Return the error of a training that used all its hours, and remove its checkpoints.

    Args:
        request: Its request.
        trainer: The training.
        spent_s: Seconds of device time that it used.
        run: Its run.
    """
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    state = trainer.state
    needed = spent_s / 3600 * state.max_steps / state.global_step
    return BackendError(
        f"stopped at step {state.global_step} of {state.max_steps}: "
        f"budget.max_gpu_hours of {request.max_gpu_hours:g} is used up",
        f"Raise it to about {enough_hours(needed)}, or train less, then `ftctl retry NAME`.",
    )


def enough_hours(hours: float) -> str:
    """Return a number of hours with two digits, never fewer hours than given."""
    return format(_TWO_DIGITS.create_decimal_from_float(hours), "f")


def explain(error: Exception) -> tuple[str, str]:
    """Return what went wrong and what to do, for an error that nobody expected."""
    text = f"{type(error).__name__}: {error}"
    if is_out_of_memory(error):
        return (
            f"out of memory ({text.splitlines()[0]})",
            (
                "halve `per_device_train_batch_size` or `max_tokens_per_batch`, and double "
                "`gradient_accumulation_steps`: as many examples for each step in half the memory"
            ),
        )
    return text, "the whole traceback is in the job's log: `ftctl logs NAME`"
