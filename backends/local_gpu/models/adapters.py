"""Adapters: added to a base model, saved so that every tool reads them alike, and loaded again.

The file uses plain LoRA scaling, `lora_alpha` over `r`: tools that ignore `use_rslora` would
otherwise apply an adapter √r times too weak. Layers have the names of the model that is served.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import peft
import torch
from peft.utils import ModulesToSaveWrapper
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel, TrainRequest
from backends.local_gpu.models.language_part import (
    beside_language,
    decoder_name,
    language_part,
    shares_weights,
)
from backends.local_gpu.models.targets.loaded import peft_choice
from backends.local_gpu.models.targets.selection import chooses_more

WEIGHTS: Final = "adapter_model.safetensors"
PREFIX: Final = "base_model.model."
"""Prefix that peft adds to the name of every layer."""
ZERO_HALVES: Final = ("lora_B", "lora_embedding_A")
"""Halves of an adapter that start at zero and change only by training."""
_SETS: Final = ("target_parameters", "modules_to_save")
"""Settings of peft with names beside `target_modules`."""
_RESTRICTED: Final = 2
"""From this recipe on, adapters are added to the language part only."""


def add_adapter(model: PreTrainedModel, settings: Mapping[str, Any]) -> peft.PeftModel:
    """Add a new adapter to a model and freeze the model's own weights.

    Raises:
        BackendError: The model does not have the layers that the settings name.
    """
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=settings["r"],
        lora_alpha=settings["lora_alpha"],
        lora_dropout=settings["lora_dropout"],
        use_rslora=settings["use_rslora"],
        use_dora=bool(settings.get("use_dora")),
        **_choice(model, settings),
    )
    try:
        adapted = peft.get_peft_model(model, config)
        return _learn_precisely(adapted)
    except ValueError as error:
        leaves = {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        raise BackendError(
            f"no adapter can be put on the base model: {error}",
            f"Use `target_modules: all-linear`, or some of: {', '.join(sorted(leaves))}.",
        ) from error


def _choice(model: PreTrainedModel, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of peft that choose what is trained."""
    if chooses_more(settings):
        return peft_choice(model, settings)
    wanted = settings["target_modules"]
    if settings["recipe"] >= _RESTRICTED:
        _require_own_weights(model, wanted)
        if beside := beside_language(model):
            wanted = _in_language_part(model, wanted, beside)
    return {"target_modules": wanted}


def _learn_precisely(model: peft.PeftModel) -> peft.PeftModel:
    """Keep whole layers in float32 while they learn, as peft keeps the halves of an adapter."""
    for module in model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            module.modules_to_save.float()
    return model


def share_inputs(model: torch.nn.Module) -> None:
    """Let autocast cast the inputs of adapters.

    peft casts the input of each adapter to float32, and autocast casts that back: layers with the
    same input would keep a copy each.
    """
    for module in model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = False


def start_adapter(model: PreTrainedModel, request: TrainRequest, base: Path) -> peft.PeftModel:
    """Put the adapter on a model from which training starts: a new one, or one to train on.

    Raises:
        BackendError: The model has no layers for it, or the earlier adapter has another form.
    """
    settings, earlier = request.hyperparameters, request.base_model.adapter
    if earlier is None:
        return add_adapter(model, settings)
    return continue_adapter(model, settings, Path(earlier), base)


def continue_adapter(
    model: PreTrainedModel, settings: Mapping[str, Any], folder: Path, base: Path
) -> peft.PeftModel:
    """Put a trained adapter on a model, to be trained on.

    Args:
        model: The base model; its own weights are frozen.
        settings: Complete hyperparameters, of the same form as those of the adapter.
        folder: Folder of the adapter.
        base: Folder of the base model.

    Raises:
        BackendError: The adapter has other layers than the settings name.
    """
    _, stored = read_adapter(folder, base, model)
    adapted = add_adapter(model, settings)
    own = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    differing = sorted(own.keys() ^ stored.keys())
    if differing or any(own[key].shape != value.shape for key, value in stored.items()):
        raise BackendError(
            f"the adapter in {folder} has another form than these hyperparameters give"
            + (f": {differing[0]}" if differing else ""),
            "Write `adapter: merge` under `base_model`, and a new adapter learns.",
        )
    peft.set_peft_model_state_dict(adapted, stored)
    return adapted


def _require_own_weights(model: PreTrainedModel, wanted: str | Sequence[str]) -> None:
    """Require that no adapter is on weights shared by the input and the output layer.

    Raises:
        BackendError: `wanted` names either layer. Merging its adapter, or serving it with shared
            weights, would give another model.
    """
    if isinstance(wanted, str) or not shares_weights(model):
        return
    shared = (model.get_input_embeddings(), model.get_output_embeddings())
    for name, module in model.named_modules():
        if any(module is one for one in shared) and _is_meant(name, wanted):
            raise BackendError(
                f"no adapter can be put on {name}: "
                "the base model uses the same weights for its input and its output layer",
                f"Remove {name.rpartition('.')[2]} from `target_modules`.",
            )


def _is_meant(name: str, wanted: Sequence[str]) -> bool:
    return any(name == one or name.endswith(f".{one}") for one in wanted)


def _in_language_part(
    model: PreTrainedModel, wanted: str | Sequence[str], beside: Sequence[str]
) -> list[str]:
    """Return the full names of the layers that the settings name and that learn from texts.

    Raises:
        BackendError: The settings name only layers of the vision or audio part.
    """
    head, inside = model.get_output_embeddings(), decoder_name(model)
    found = []
    for name, module in model.named_modules():
        linear = isinstance(module, torch.nn.Linear)
        if isinstance(wanted, str):
            meant = linear and module is not head
        else:
            meant = _is_meant(name, wanted)
        if meant and (name.startswith(f"{inside}.") or module is head):
            found.append(name)
    if not found:
        raise BackendError(
            f"no adapter can be put on the base model: {', '.join(wanted)} "
            f"only names layers that learn nothing from texts, such as {beside[0]}",
            "Write `target_modules: all-linear`: it means every layer of the language part.",
        )
    return found


def start_values(model: peft.PeftModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of an adapter that are zero until training changes them."""
    for name, weights in model.named_parameters():
        if weights.requires_grad and any(half in name for half in ZERO_HALVES):
            yield name, weights


def unchanged_layers(model: peft.PeftModel) -> list[str]:
    """Return the names of the layers that are trained whole and are still those of the base."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, ModulesToSaveWrapper)
        and all(
            torch.equal(learned, own.to(learned.dtype))
            for layer in module.modules_to_save.values()
            for learned, own in zip(
                layer.parameters(), module.original_module.parameters(), strict=True
            )
        )
    ]


def save_adapter(model: peft.PeftModel, target: Path, base: BaseModel, folder: Path) -> None:
    """Write a trained adapter in a form that other tools can load.

    Args:
        model: The base model with its adapter. Only its settings for export change.
        target: A new folder.
        base: The base model that the adapter was trained from.
        folder: Folder of the base model.
    """
    part = language_part(folder, model.get_base_model())
    for config in model.peft_config.values():
        config.base_model_name_or_path = base.reference
        config.revision = base.revision
        if part.here != part.whole:
            # Short names may also match the vision part, so name each layer in full.
            config.target_modules = map(part.elsewhere, model.targeted_module_names)
            _rename(config, part.elsewhere)
        # Every process iterates over a set in another order.
        config.target_modules = sorted(config.target_modules)
        for key in _SETS:
            if getattr(config, key) is not None:
                setattr(config, key, sorted(getattr(config, key)))
        _scale_plainly(config)
    model.save_pretrained(target, save_embedding_layers=False)
    if part.here != part.whole:
        stored = load_file(target / WEIGHTS)
        renamed = {_renamed(key, part.elsewhere): value for key, value in stored.items()}
        save_file(renamed, target / WEIGHTS, metadata={"format": "pt"})


def read_adapter(
    folder: Path, base: Path, model: PreTrainedModel
) -> tuple[peft.LoraConfig, dict[str, torch.Tensor]]:
    """Read an adapter under the layer names of a loaded model.

    Args:
        folder: Folder of the adapter.
        base: The base model that `model` was loaded from.
        model: The base model, with or without other adapters.

    Returns:
        Settings and weights of the adapter, under the model's own layer names.
    """
    config = peft.LoraConfig.from_pretrained(str(folder))
    config.inference_mode = True
    stored = load_file(folder / WEIGHTS)
    part = language_part(base, model)
    if part.here != part.whole:
        config.target_modules = {part.back(name) for name in config.target_modules}
        _rename(config, part.back)
        stored = {_renamed(key, part.back): value for key, value in stored.items()}
    return config, stored


def _rename(config: peft.LoraConfig, change: Callable[[str], str]) -> None:
    """Change the names of parameters and whole layers in an adapter's settings."""
    for key in _SETS:
        if getattr(config, key) is not None:
            setattr(config, key, [*map(change, getattr(config, key))])


def _renamed(key: str, change: Callable[[str], str]) -> str:
    return PREFIX + change(key.removeprefix(PREFIX))


def _scale_plainly(config: peft.LoraConfig) -> None:
    """Write the scale of every layer for tools that read only `lora_alpha / r`."""
    # The patterns for rank and for alpha apply to a layer independently.
    patterns = {*config.rank_pattern, *config.alpha_pattern}
    alphas = {
        pattern: plain_alpha(
            config.alpha_pattern.get(pattern, config.lora_alpha),
            config.rank_pattern.get(pattern, config.r),
            rslora=config.use_rslora,
        )
        for pattern in sorted(patterns)
    }
    config.lora_alpha = plain_alpha(config.lora_alpha, config.r, rslora=config.use_rslora)
    config.alpha_pattern = alphas
    config.use_rslora = False


def plain_alpha(alpha: float, rank: int, *, rslora: bool) -> float:
    """Return the `lora_alpha` that, divided by the rank, gives the scale used in training.

    Args:
        alpha: `lora_alpha` used in training.
        rank: Rank of the layer.
        rslora: True if training divided `alpha` by the square root of the rank.

    Returns:
        An integer where the value is whole: some tools read only integers.
    """
    if not rslora:
        return int(alpha) if float(alpha).is_integer() else alpha
    scale = alpha / math.sqrt(rank)
    near = scale * rank
    # The product is rounded, so the nearest number may be the next float.
    candidates = (round(near), near, math.nextafter(near, 0.0), math.nextafter(near, math.inf))
    return next((one for one in candidates if one / rank == scale), near)
