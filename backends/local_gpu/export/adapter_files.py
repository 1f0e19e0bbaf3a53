"""Adapters that other programs load, and what those programs do not load. Reads settings only."""

import shlex
from pathlib import Path
from typing import Any, Final

from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel
from backends.local_gpu.json_files import read_json

SETTINGS: Final = "adapter_config.json"
VLLM_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM takes for `--max-lora-rank`."""
_MERGED: Final = "Export it with `--format merged`: vLLM serves the whole model."


def is_adapter(folder: Path) -> bool:
    """Return True if a model's folder holds an adapter, False if it holds a whole model."""
    return (folder / SETTINGS).exists()


def require_adapter(folder: Path, form: str) -> None:
    """Require that a model is an adapter.

    Raises:
        BackendError: It was trained fully.
    """
    if not is_adapter(folder):
        raise BackendError(
            f"there is no adapter to export as {form}: every weight of the model was trained",
            "Export the whole model: use `--format merged`.",
        )


def require_vllm(folder: Path) -> None:
    """Require that vLLM loads an adapter as it was trained.

    Raises:
        BackendError: The adapter has a part that vLLM refuses, or reads otherwise.
    """
    settings = read_json(folder / SETTINGS) or {}
    unfit = {
        "modules_to_save": "whole layers beside the adapter",
        "trainable_token_indices": "trained tokens beside the adapter",
        "use_dora": "DoRA",
        "rank_pattern": "another rank for some layers",
        "alpha_pattern": "another scale for some layers",
        "target_parameters": "adapters on fused experts",
        "lora_bias": "biases of the adapter",
    }
    for key, words in unfit.items():
        if settings.get(key):
            named = settings[key]
            detail = f": {', '.join(map(str, named))}" if isinstance(named, list | dict) else ""
            raise BackendError(f"vLLM does not load {words} ({key}{detail})", _MERGED)
    rank = int(settings.get("r", 0))
    if rank > VLLM_RANKS[-1]:
        raise BackendError(
            f"vLLM loads adapters up to rank {VLLM_RANKS[-1]}, and this one has {rank}", _MERGED
        )


def vllm_rank(folder: Path) -> int:
    """Return the `--max-lora-rank` that an adapter needs."""
    settings: dict[str, Any] = read_json(folder / SETTINGS) or {}
    return next(rank for rank in VLLM_RANKS if rank >= int(settings["r"]))


def vllm_command(base: BaseModel, rank: int, name: str) -> str:
    """Return the command that serves an adapter on the base model it was trained on.

    Args:
        base: The base model; of a model of the hub, its commit is served, not the newest one.
        rank: The `--max-lora-rank`.
        name: Name of the adapter; the adapter's own folder is FOLDER.
    """
    revision = f" --revision {base.revision}" if base.revision is not None else ""
    return (
        f"vllm serve {shlex.quote(base.reference)}{revision} --enable-lora --max-lora-rank {rank} "
        f"--lora-modules {name}=FOLDER"
    )
