"""Differences between trainings by this version's recipe and by the first, by model and settings.

The newest recipe makes all new trainings. By recipe 2

- examples of templates with thinking or channels are rendered as prompts are;
- an adapter on the output layer is trained;
- adapters of a model with vision are put on its language part only;
- a fully trained model is stored in its base's precision, with its vision part.

The comparison imports no packages of the extra and reads no weights.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.local_gpu.json_files import read_json
from backends.local_gpu.models.model_files import text_recipe
from backends.local_gpu.models.safetensors_headers import headers

NEWEST: Final = 2
_OUTPUT: Final = "lm_head"


def trains_otherwise(folder: Path, settings: Mapping[str, Json]) -> bool:
    """Return True if recipe 2 and recipe 1 train different weights.

    Args:
        folder: Folder of the base model. Missing files count as no difference.
        settings: Complete hyperparameters.
    """
    return _reads_otherwise(folder, settings) or _learns_otherwise(folder, settings)


def _reads_otherwise(folder: Path, settings: Mapping[str, Json]) -> bool:
    if "max_length" in settings:
        return False  # plain texts have no template
    shipped = settings.get("chat_template")
    named = None if shipped is None else str(shipped)
    return text_recipe(folder, named, thinking=settings.get("thinking") == "on") == NEWEST


def _learns_otherwise(folder: Path, settings: Mapping[str, Json]) -> bool:
    config: Mapping[str, Any] = read_json(folder / "config.json") or {}
    sees = isinstance(config.get("text_config"), dict)
    if settings.get("finetuning_type") == "full":
        return sees or _is_coarse(folder, config)
    targets = settings.get("target_modules")
    named = targets if isinstance(targets, list) else []
    return sees or any(str(name).rpartition(".")[2] == _OUTPUT for name in named)


def _is_coarse(folder: Path, config: Mapping[str, Any]) -> bool:
    """Return True if a model is stored below float32, by its files or else by its settings."""
    try:
        stored = {tensor["dtype"] for header in headers(folder) for tensor in header.values()}
    except BackendError:
        stored = set()
    if stored:
        return stored != {"F32"}
    return (config.get("dtype") or config.get("torch_dtype") or "float32") != "float32"
