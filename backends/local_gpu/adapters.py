"""Adapters: put on a base model, written so that they mean the same everywhere, and opened again.

In the file stands plain LoRA scaling, `lora_alpha` over `r`: tools that ignore `use_rslora` would
otherwise apply an adapter √r times too weak. Layers bear the names of the model that is served.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import peft
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from backends.base import BackendError, BaseModel
from backends.local_gpu.served import beside_language, decoder_name, language_part

WEIGHTS: Final = "adapter_model.safetensors"
PREFIX: Final = "base_model.model."
"""What peft puts before the name of every layer."""
_ZERO_HALVES: Final = ("lora_B", "lora_embedding_A")
"""The half of an adapter that starts as zero: only training makes it something else."""
_RESTRICTED: Final = 2
"""From this recipe on, adapters stay off what is no language part."""


def add_adapter(model: PreTrainedModel, settings: Mapping[str, Any]) -> peft.PeftModel:
    """Put a new adapter on a model, which is frozen.

    Raises:
        BackendError: The model has no such layers.
    """
    wanted = settings["target_modules"]
    if settings["recipe"] >= _RESTRICTED:
        _require_own_weights(model, wanted)
        if beside := beside_language(model):
            wanted = _in_language_part(model, wanted, beside)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=settings["r"],
        lora_alpha=settings["lora_alpha"],
        lora_dropout=settings["lora_dropout"],
        use_rslora=settings["use_rslora"],
        target_modules=wanted,
    )
    try:
        return peft.get_peft_model(model, config)
    except ValueError as error:
        leaves = {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        raise BackendError(
            f"no adapter can be put on the base model: {error}",
            f"its linear layers are {', '.join(sorted(leaves))}; or `target_modules: all-linear`",
        ) from error


def _require_own_weights(model: PreTrainedModel, wanted: str | Sequence[str]) -> None:
    """Make sure that no adapter lies on weights that are input and output layer at once.

    Raises:
        BackendError: One would: merged, or in a server that shares them, it would mean another model.
    """
    if isinstance(wanted, str) or not model.config.get_text_config().tie_word_embeddings:
        return
    shared = (model.get_input_embeddings(), model.get_output_embeddings())
    for name, module in model.named_modules():
        if any(module is one for one in shared) and _is_meant(name, wanted):
            raise BackendError(
                f"no adapter can be put on {name}: "
                "the base model uses the same weights for its input and its output layer",
                f"remove {name.rpartition('.')[2]} from `target_modules`",
            )


def _is_meant(name: str, wanted: Sequence[str]) -> bool:
    return any(name == one or name.endswith(f".{one}") for one in wanted)


def _in_language_part(
    model: PreTrainedModel, wanted: str | Sequence[str], beside: Sequence[str]
) -> list[str]:
    """Return the full names of the layers that are meant and learn from texts.

    Raises:
        BackendError: Only layers of what sees or hears are meant.
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
            "write `target_modules: all-linear`: it means every layer of the language part",
        )
    return found


def start_values(model: peft.PeftModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of an adapter that are zero until something is learnt."""
    for name, weights in model.named_parameters():
        if weights.requires_grad and any(half in name for half in _ZERO_HALVES):
            yield name, weights


def save_adapter(model: peft.PeftModel, target: Path, base: BaseModel, folder: Path) -> None:
    """Write a trained adapter for anyone who opens it elsewhere.

    Args:
        model: The base model with its adapter; only what would be written of it changes.
        target: A new folder.
        base: What it was trained from.
        folder: Where that lies.
    """
    part = language_part(folder, model.get_base_model())
    for config in model.peft_config.values():
        config.base_model_name_or_path = base.reference
        config.revision = base.revision
        if part.here != part.whole:
            # Short names may also fit what sees: each layer is named in full.
            config.target_modules = map(part.elsewhere, model.targeted_module_names)
        # A set is written in another order by every process.
        config.target_modules = sorted(config.target_modules)
        if config.target_parameters is not None:
            config.target_parameters = sorted(config.target_parameters)
        _scale_plainly(config)
    model.save_pretrained(target, save_embedding_layers=False)
    if part.here != part.whole:
        stored = load_file(target / WEIGHTS)
        renamed = {_renamed(key, part.elsewhere): value for key, value in stored.items()}
        save_file(renamed, target / WEIGHTS, metadata={"format": "pt"})


def read_adapter(
    folder: Path, base: Path, model: PreTrainedModel
) -> tuple[peft.LoraConfig, dict[str, torch.Tensor]]:
    """Read an adapter as it fits a model that is open, however that names its layers.

    Args:
        folder: The adapter's.
        base: What the model was opened from.
        model: The base model, without adapters or with others.

    Returns:
        Its settings and its weights, under the model's own names.
    """
    config = peft.LoraConfig.from_pretrained(str(folder))
    config.inference_mode = True
    stored = load_file(folder / WEIGHTS)
    part = language_part(base, model)
    if part.here != part.whole:
        config.target_modules = {part.back(name) for name in config.target_modules}
        stored = {_renamed(key, part.back): value for key, value in stored.items()}
    return config, stored


def _renamed(key: str, change: Callable[[str], str]) -> str:
    return PREFIX + change(key.removeprefix(PREFIX))


def _scale_plainly(config: peft.LoraConfig) -> None:
    """Write the scale of every layer as tools read it that know nothing but `lora_alpha / r`."""
    # A layer takes its rank and its alpha from patterns, each by itself.
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
    """Return the `lora_alpha` that, over the rank, is just the scale that was trained with.

    Args:
        alpha: As it was trained with.
        rank: Rank of the layer.
        rslora: Whether it was trained with `alpha` over the square root of the rank.

    Returns:
        A whole number where it is one: some tools read nothing else.
    """
    if not rslora:
        return int(alpha) if float(alpha).is_integer() else alpha
    scale = alpha / math.sqrt(rank)
    near = scale * rank
    # The nearest number may lie one step beside the product, which has been rounded.
    candidates = (round(near), near, math.nextafter(near, 0.0), math.nextafter(near, math.inf))
    return next((one for one in candidates if one / rank == scale), near)
