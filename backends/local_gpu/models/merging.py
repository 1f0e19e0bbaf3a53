"""An adapter merged into its base model, as the folder of a whole model.

The sum is computed in float32 from the base model as it is stored, and rounded once, to the type of
each stored tensor. A model that was loaded quantised, or in half precision, would be rounded twice.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import peft
import torch
from peft import PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from backends.contract.errors import BackendError
from backends.local_gpu.json_files import read_json
from backends.local_gpu.models.adapters import PREFIX, WEIGHTS, read_adapter
from backends.local_gpu.models.model_folders import load_model, save_model
from backends.local_gpu.models.safetensors_headers import headers

_A: Final = ".lora_A.weight"
_B: Final = ".lora_B.weight"
_FLOATS: Final = frozenset({"F32", "F16", "BF16"})
_INDEX: Final = "model.safetensors.index.json"
_FLAT: Final = 2
"""Dimensions of the weights of a linear layer."""
_WHOLE: Final = 2
"""Recipe by which a whole model is stored in the form of its base."""


def require_unquantised(base: Path) -> None:
    """Require that a base model's weights are stored unquantised.

    Raises:
        BackendError: The weights are quantised.
    """
    quantised = (read_json(base / "config.json") or {}).get("quantization_config")
    if quantised:
        method = quantised.get("quant_method", "some") if isinstance(quantised, dict) else "some"
        raise BackendError(
            f"the base model in {base} is quantised ({method}): a merge would be rounded twice",
            "Export the adapter alone with `--format adapter`, or train from the model's "
            "unquantised weights.",
        )


def adapted_model(adapter: Path, base: Path, dtype: torch.dtype, where: torch.device) -> PeftModel:
    """Load a base model and put an adapter on it, as an engine of ftctl does.

    Args:
        adapter: Folder of the adapter.
        base: Folder of the base model.
        dtype: Precision of the computation.
        where: Device of the model.
    """
    model = load_model(base, dtype, where)
    config, stored = read_adapter(adapter, base, model)
    adapted = get_peft_model(model, config)
    found = set_peft_model_state_dict(adapted, stored)
    if found.unexpected_keys:
        raise BackendError(f"the adapter does not fit its base model: {found.unexpected_keys[0]}")
    return adapted.eval()


def write_merged(adapter: Path, base: Path, target: Path) -> str:
    """Write the weights and the config of a merged model.

    Args:
        adapter: Folder of the adapter.
        base: Folder of the base model.
        target: An empty folder.

    Returns:
        How it was merged, for people.
    """
    config = peft.LoraConfig.from_pretrained(str(adapter))
    stored = load_file(adapter / WEIGHTS)
    sums = _by_layer(config, stored, base)
    if sums is not None:
        _write_shards(base, target, sums)
        return "file by file"
    whole = adapted_model(adapter, base, torch.float32, torch.device("cpu"))
    merged: PreTrainedModel = whole.merge_and_unload(safe_merge=True)
    save_model(merged, target, base, _WHOLE)
    return "as a whole"


def _by_layer(
    config: peft.LoraConfig, stored: Mapping[str, torch.Tensor], base: Path
) -> dict[str, tuple[torch.Tensor, torch.Tensor, float]] | None:
    """Return what to add to each stored tensor; None where names or form are not plain.

    Returns:
        The two halves and the scale, by the tensor's name in the base model's files.
    """
    layers = {
        key.removeprefix(PREFIX).removesuffix(_A).removesuffix(_B)
        for key in stored
        if key.endswith((_A, _B))
    }
    others = len(stored) != 2 * len(layers)
    special = (
        config.use_dora
        or config.fan_in_fan_out
        or config.alpha_pattern
        or config.bias != "none"
        or config.target_parameters
    )
    if others or special:
        return None
    tensors = {name: tensor for header in headers(base) for name, tensor in header.items()}
    sums = {}
    for layer in layers:
        a, b = stored[f"{PREFIX}{layer}{_A}"], stored[f"{PREFIX}{layer}{_B}"]
        tensor = tensors.get(f"{layer}.weight")
        plain = a.dim() == b.dim() == _FLAT and tensor is not None and tensor["dtype"] in _FLOATS
        if not plain or tensor is None or tensor["shape"] != [b.shape[0], a.shape[1]]:
            return None
        rank = a.shape[0]
        scale = config.lora_alpha / (rank**0.5 if config.use_rslora else rank)
        sums[f"{layer}.weight"] = (a, b, scale)
    return sums


def _write_shards(
    base: Path, target: Path, sums: Mapping[str, tuple[torch.Tensor, torch.Tensor, float]]
) -> None:
    for path in sorted(base.glob("*.safetensors")):
        with safe_open(path, framework="pt") as shard:
            tensors: dict[str, Any] = {}
            names = shard.keys()
            for name in names:
                value = shard.get_tensor(name)
                if name in sums:
                    a, b, scale = sums[name]
                    value = (value.float() + scale * (b.float() @ a.float())).to(value.dtype)
                tensors[name] = value
            save_file(tensors, target / path.name, metadata=shard.metadata() or {"format": "pt"})
    for name in ("config.json", _INDEX):
        if (base / name).exists():
            (target / name).write_bytes((base / name).read_bytes())
