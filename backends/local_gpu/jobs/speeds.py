"""Speeds of past trainings on this machine, to estimate the hours of a new training."""

import json
import os
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from backends.atomic_files import append_line
from backends.contract.inspector import Json
from backends.contract.jobs import Estimate, TrainRequest
from backends.local_gpu.jobs.devices import CPU, is_cpu, visible_devices
from backends.local_gpu.json_files import read_lines
from backends.local_gpu.planned_steps import planned_steps

_FILE: Final = "speeds.jsonl"
_NEWEST: Final = 5
"""Number of past trainings of the same kind that count."""
_SURE: Final = (0.8, 1.25)
"""Factors of the measured hours that bound an estimate from counted tokens."""
_ROUGH: Final = (0.5, 2.0)
"""Factors that bound an estimate from the number of examples."""


def remember(state: Path, request: TrainRequest, facts: Mapping[str, Any], examples: int) -> None:
    """Record the speed of a finished training.

    Args:
        state: The backend's folder.
        request: Request of the training.
        facts: Facts of the finished training.
        examples: Number of examples in its training set.
    """
    hours = facts["seconds"] * facts.get("gpus", 1) / 3600
    line: dict[str, Json] = {
        **_kind(request),
        "device": CPU if facts["device"] == CPU else "gpu",
        # Hours are those of one device: several need as many, and less time.
        "tokens_per_hour": facts["trained_tokens"] / hours,
        "examples_per_hour": examples * facts["epochs"] / hours,
        "finished_s": time.time(),
    }
    append_line(state / _FILE, json.dumps(line).encode())


def estimate(
    state: Path, request: TrainRequest, examples: int, tokens: int | None, context: int | None
) -> Estimate:
    """Return the steps of a training, and its hours where a limit asks for them.

    Args:
        state: The backend's folder.
        request: Request of the training.
        examples: Number of examples in its training set.
        tokens: Number of tokens in its training set, where counted.
        context: Longest text that the base model reads, in tokens, if it has a limit.
    """
    settings = request.hyperparameters
    length, budget = (settings.get(key) for key in ("max_length", "max_tokens_per_batch"))
    if isinstance(length, int):
        # Texts are read in blocks: at least one for each text, and enough for all tokens.
        if tokens is None:
            steps = planned_steps(settings, None)
            return Estimate(
                usd=(0.0, 0.0), steps=steps.most, may_stop_earlier=steps.may_stop_earlier
            )
        examples = max(examples, -(-tokens // min(length, context or length)))
    per_epoch = None
    if budget is None:
        size, accumulation = (
            int(str(settings[key]))
            for key in ("per_device_train_batch_size", "gradient_accumulation_steps")
        )
        per_epoch = -(-examples // (size * accumulation))
    steps = planned_steps(settings, per_epoch)
    found = None
    # Each training measures its own hours. Without a limit, they change no decision.
    if request.max_gpu_hours is not None:
        found = hours(state, request, visible_devices(os.environ)[0], examples, tokens)
    return Estimate(
        usd=(0.0, 0.0),
        gpu_hours=steps.of_hours(found),
        steps=steps.most,
        may_stop_earlier=steps.may_stop_earlier,
    )


def hours(
    state: Path, request: TrainRequest, device: str, examples: int, tokens: int | None
) -> tuple[float, float] | None:
    """Return the least and the most hours that a training is expected to take.

    Args:
        state: The backend's folder.
        request: Request of the training.
        device: A device that the training may run on.
        examples: Number of examples in its training set.
        tokens: Number of tokens in its training set, where counted.

    Returns:
        None where no training of the same kind has ended on this machine yet.
    """
    epochs = int(str(request.hyperparameters["num_train_epochs"]))
    wanted = _kind(request) | {"device": CPU if is_cpu(device) else "gpu"}
    same = [
        line
        for line in read_lines(state / _FILE)
        if all(line.get(key) == value for key, value in wanted.items())
    ]
    newest = list(islice(reversed(same), _NEWEST))
    key, amount, (least, most) = (
        ("examples_per_hour", examples, _ROUGH)
        if tokens is None
        else ("tokens_per_hour", tokens, _SURE)
    )
    rates = [rate for line in newest if isinstance(rate := line.get(key), float) and rate > 0]
    if not rates:
        return None
    return amount * epochs / max(rates) * least, amount * epochs / min(rates) * most


def _kind(request: TrainRequest) -> dict[str, Json]:
    """Return the properties that two trainings must share for a comparison of their speeds."""
    return {
        "base_model": request.base_model.identity,
        "method": request.method,
        "finetuning_type": request.hyperparameters["finetuning_type"],
    }
