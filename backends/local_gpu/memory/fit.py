"""Ways to fit a training onto its device: checkpointing, smaller batches, or none.

A batch is halved and the accumulation doubled until it fits, so that each optimiser step sees the
same examples. Batches of `kto` stay whole, because their examples depend on each other. Full tuning
on several devices shares its weights out among them where one device has too little memory.
"""

import heapq
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any, Final, TypeAlias

from backends.contract.inspector import ExampleInspector
from backends.contract.methods import DPO, KTO
from backends.local_gpu.hardware import Share, share_of
from backends.local_gpu.memory.checkpointing import Checkpointing, ways
from backends.local_gpu.memory.estimate import Batch, Need, Plan, estimate
from backends.local_gpu.memory.shape import Shape

_SURE: Final = 0.9
"""Part of an estimate that is needed for certain."""
_AMONG: Final = 8
"""Number of the longest lines among which the longest example is searched."""
Change: TypeAlias = tuple[str, Mapping[str, Any]]
_CHANGES: Final[tuple[Change, ...]] = (
    ("gradient_checkpointing: auto", {"gradient_checkpointing": "auto"}),
    ("dtype: bfloat16", {"dtype": "bfloat16"}),
    ("quantization: nf4", {"quantization": "nf4"}),
    ("per_device_train_batch_size: 2", {"per_device_train_batch_size": 2}),
    (
        "finetuning_type: lora",
        {"finetuning_type": "lora", "r": 16, "target_modules": "all-linear"},
    ),
)
"""Settings that need less memory, the gentlest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Settings and sizes that decide the memory of a training."""

    shape: Shape
    settings: Mapping[str, Any]
    """Complete hyperparameters."""
    method: str
    longest: int
    """Tokens of the longest row."""
    tile: int
    """Most logits that exist at once."""
    half: bool
    """True if `dtype: auto` means 16 bits on the device."""
    gpus: int = 1
    """Devices that work for it at once."""
    on_host: bool = False
    """True if the device is the machine itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Way in which a training fits its device."""

    need: Need
    size: int
    """Examples that go through the model at once."""
    accumulation: int
    """Batches that each device computes for a step."""
    checkpointing: Checkpointing
    fits: bool
    """False if it needs more than the device has."""
    sharded: bool = False
    """True if the devices share the weights; False if each has them all."""


def fit(training: Training, usable: int | None) -> Fit:
    """Return how a training fits into some memory.

    Args:
        training: The training.
        usable: Bytes that it may use; None if that is not known.

    Returns:
        What fits in the largest batches, with the least checkpointing; else the smallest.
    """
    every = list(_ways(training))
    if usable is None:
        return every[0]
    found = next((one for one in every if one.need.total <= usable), every[-1])
    return replace(found, fits=_SURE * found.need.total <= usable)


def what_would_fit(training: Training, usable: int) -> str | None:
    """Return the settings that make a training fit, as YAML; None if no settings do.

    Args:
        training: A training that does not fit.
        usable: Bytes that it may use.
    """
    for count in (1, 2, 3):
        for changes in combinations(_CHANGES, count):
            changed: dict[str, Any] = dict(training.settings)
            for _, change in changes:
                changed |= change
            if not _are_less(training.settings, changes):
                continue
            other = replace(training, settings=changed)
            if any(one.need.total <= usable for one in _ways(other)):
                return "` and `".join(words for words, _ in changes)
    return None


def longest_example(path: Path, inspector: ExampleInspector, max_length: int | None) -> int | None:
    """Return the tokens of the longest row of a dataset; None if it is empty.

    Args:
        path: Canonical JSONL.
        inspector: Counts tokens.
        max_length: Most tokens of a plain text that are read at once.
    """
    with path.open("rb") as file:
        lines = heapq.nlargest(_AMONG, file, key=len)
    examples = [json.loads(line) for line in lines if line.strip()]
    counts = inspector.longest(examples) or inspector.count(examples)
    longest = max(counts, default=None)
    return longest if longest is None or max_length is None else min(longest, max_length)


def _are_less(settings: Mapping[str, Any], changes: tuple[Change, ...]) -> bool:
    """Return True if each of some changes means less memory."""
    present = {"gradient_checkpointing": "auto", "quantization": None, **settings}
    becomes_adapter = any("finetuning_type" in change for _, change in changes)
    for _, change in changes:
        (key, value), *_ = change.items()
        is_full = settings["finetuning_type"] == "full" and not becomes_adapter
        if key == "quantization" and is_full:
            return False
        if present.get(key) == value:
            return False
        if key == "per_device_train_batch_size" and present.get(key, 0) < value:
            return False
    return True


def _ways(training: Training) -> Iterator[Fit]:
    """Yield the ways to train, from the fastest to that with the least memory."""
    settings = training.settings
    choices = ways(str(settings.get("gradient_checkpointing", "auto")))
    dtype = settings["dtype"]
    half = training.half if dtype == "auto" else dtype != "float32"
    limit = settings.get("max_tokens_per_batch")
    # Batches that are filled to a number of tokens have as many rows as the longest row allows.
    of_tokens = 1 if limit is None else max(1, int(limit) // training.longest)
    # A step that cannot be divided is refused elsewhere.
    share = share_of(training.method, settings, training.gpus) or Share(accumulation=1)
    size = share.size or int(settings.get("per_device_train_batch_size") or of_tokens)
    accumulation = share.accumulation
    while True:
        for shards, checkpointing in product(_shards(training), choices):
            batch = Batch(
                rows=size * (2 if training.method == DPO.name else 1), length=training.longest
            )
            plan = Plan(
                half=half,
                tile=training.tile,
                checkpointing=checkpointing,
                shards=shards,
                on_host=training.on_host,
            )
            here = {**settings, "gradient_accumulation_steps": accumulation}
            yield Fit(
                need=estimate(training.shape, here, batch, plan),
                size=size,
                accumulation=accumulation,
                checkpointing=checkpointing,
                fits=True,
                sharded=shards > 1,
            )
        if size % 2 or training.method == KTO.name:
            return
        size, accumulation = size // 2, accumulation * 2


def _shards(training: Training) -> tuple[int, ...]:
    """Return the numbers of devices that may share the weights, the fastest first."""
    settings = training.settings
    is_adapter = settings["finetuning_type"] != "full"
    # An optimiser with states of 8 bits knows no shares.
    if training.gpus == 1 or is_adapter or settings.get("optim", "adamw") != "adamw":
        return (1,)
    return (1, training.gpus)
