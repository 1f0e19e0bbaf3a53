"""How fast trainings went here, so that the next one's hours can be told before it starts."""

import json
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from backends.base import Json, TrainRequest
from backends.durable import append_line
from backends.local_gpu.devices import CPU
from backends.local_gpu.run_dir import read_lines

_FILE: Final = "speeds.jsonl"
_NEWEST: Final = 5
"""Trainings of the same kind that count."""
_SURE: Final = (0.8, 1.25)
"""How far another training may lie from what was measured, where its tokens are counted."""
_ROUGH: Final = (0.5, 2.0)
"""The same where only its examples are."""


def remember(state: Path, request: TrainRequest, facts: Mapping[str, Any], examples: int) -> None:
    """Write down how fast a training was.

    Args:
        state: The backend's folder.
        request: What was asked for.
        facts: Of the finished training.
        examples: In its training set.
    """
    hours = facts["seconds"] / 3600
    line: dict[str, Json] = {
        **_kind(request),
        "device": CPU if facts["device"] == CPU else "gpu",
        "tokens_per_hour": facts["trained_tokens"] / hours,
        "examples_per_hour": examples * facts["epochs"] / hours,
        "finished_s": time.time(),
    }
    append_line(state / _FILE, json.dumps(line).encode())


def hours(
    state: Path, request: TrainRequest, device: str, examples: int, tokens: int | None
) -> tuple[float, float] | None:
    """Return the least and the most hours that a training is expected to take.

    Args:
        state: The backend's folder.
        request: What is asked for.
        device: One that it may run on.
        examples: In its training set.
        tokens: Of them all, where they are counted.

    Returns:
        None where no such training has ended here yet.
    """
    epochs = int(str(request.hyperparameters["num_train_epochs"]))
    wanted = _kind(request) | {"device": CPU if device == CPU else "gpu"}
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
    """Return what trainings have to have in common for one to foretell another."""
    return {
        "base_model": request.base_model.identity,
        "method": request.method,
        "finetuning_type": request.hyperparameters["finetuning_type"],
    }
