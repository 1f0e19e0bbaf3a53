"""Opening base models, putting adapters on them, and writing what was trained.

Weights are safetensors, in and out; no pickle is read, and no code of a model's repository runs.
"""

import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import torch
import transformers
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    PreTrainedModel,
)

from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.contract.jobs import TrainRequest
from backends.local_gpu.jobs.devices import CPU, DEVICE, is_cpu
from backends.local_gpu.json_files import json_bytes
from backends.local_gpu.models.language_part import language_part
from backends.local_gpu.models.model_files import copy_tokenizer
from backends.local_gpu.models.quantized import measure_as_trained, opening
from backends.local_gpu.models.safetensors_headers import headers
from backends.local_gpu.models.targets.selection import CHOICES
from backends.local_gpu.tokens.chat_tokens import Chat

_OF_THE_TRAINING: Final = (
    "steps",
    "epochs",
    "trained_tokens",
    "train_loss",
    "held_out_loss_before",
    "held_out_loss",
)
_OF_THE_END: Final = ("best_step", "stopped_because")
"""Facts of a training that its held-out loss or a limit ended."""
_WEIGHTS: Final = "*.safetensors"
_TRAINABLE: Final = {"BF16": torch.bfloat16, "F16": torch.float16}
_PRECISIONS: Final = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
}
_AS_THE_BASE: Final = 2
"""From this recipe on, a fully trained model is stored complete, in its base's precision."""


def device() -> torch.device:
    """Return the device that this process was given.

    Raises:
        BackendError: The device is a GPU, and torch cannot use it.
    """
    if is_cpu(os.environ.get(DEVICE, CPU)):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise BackendError(
            "this machine has an NVIDIA GPU, but the installed torch cannot use it",
            "Install a CUDA build of torch, or set CUDA_VISIBLE_DEVICES=-1 to use the CPU.",
        )
    return torch.device("cuda")


def precision(wanted: str, where: torch.device) -> torch.dtype:
    """Return the precision of the matrix work."""
    if wanted == "auto":
        has_it = where.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_it else torch.float32
    return _PRECISIONS[wanted]


def load_model(
    folder: Path, dtype: torch.dtype, where: torch.device, quantization: str | None = None
) -> PreTrainedModel:
    """Open a model.

    Args:
        folder: Its folder.
        dtype: Precision of its weights, or of the work on quantised ones.
        where: Device to load it to.
        quantization: `nf4` to keep the weights of its linear layers in 4 bits.

    Raises:
        BackendError: The model cannot be opened, or a package is missing.
    """
    transformers.utils.logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        known = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
        opener = AutoModelForCausalLM if known else AutoModelForMultimodalLM
        model = opener.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            **opening(quantization, dtype, where),
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError) as error:
        raise BackendError(
            f"the model in {folder} cannot be opened: {error}",
            "Check that it is a causal language model that the installed transformers supports.",
        ) from error
    if quantization is None:
        return model.to(where)
    measure_as_trained(model)
    return model


def with_weights(folder: Path, weights: Mapping[str, torch.Tensor]) -> PreTrainedModel:
    """Open a model in the machine's own memory, with other weights than its folder has.

    Args:
        folder: Its folder.
        weights: All its weights by their names.

    Raises:
        BackendError: The model cannot be opened.
    """
    model = load_model(folder, torch.float32, torch.device("cpu"))
    with torch.no_grad():
        for name, one in model.named_parameters():
            one.copy_(weights[name])
    return model


def save_model(model: PreTrainedModel, target: Path, folder: Path, recipe: int) -> None:
    """Write a fully trained model in the form in which its base is stored.

    Args:
        model: The trained model. Its weights may be rounded to a smaller dtype.
        target: A new folder.
        folder: Folder of the base model.
        recipe: Recipe of the training. Recipe 1 stored float32, and only the trained part.
    """
    if recipe < _AS_THE_BASE:
        model.save_pretrained(target)
        return
    usual, stored = stored_dtypes(folder)
    part = language_part(folder, model)
    for name, weights in model.named_parameters():
        weights.data = weights.data.to(stored.get(part.elsewhere(name), usual))
    if part.here == part.whole:
        model.save_pretrained(target)
        return
    whole = AutoModelForMultimodalLM.from_pretrained(
        folder, dtype=usual, local_files_only=True, use_safetensors=True
    )
    trained = {part.elsewhere(name): value for name, value in model.state_dict().items()}
    unknown = whole.load_state_dict(trained, strict=False).unexpected_keys
    if unknown:
        raise BackendError(f"the whole model has no place for {unknown[0]}")
    whole.save_pretrained(target)


def whole_size(model: PreTrainedModel, folder: Path, recipe: int) -> int:
    """Return the bytes that `save_model` needs on disk."""
    if recipe >= _AS_THE_BASE:
        return sum(path.stat().st_size for path in folder.glob(_WEIGHTS))
    return sum(weights.numel() * weights.element_size() for weights in model.parameters())


def stored_dtypes(folder: Path) -> tuple[torch.dtype, dict[str, torch.dtype]]:
    """Return the most common dtype of a model's stored weights, and each weight's dtype by name.

    A dtype in which no training is possible counts as float32.

    Args:
        folder: Folder of the model.
    """
    numbers: Counter[torch.dtype] = Counter()
    stored = {}
    for header in headers(folder):
        for name, tensor in header.items():
            stored[name] = _TRAINABLE.get(tensor["dtype"], torch.float32)
            numbers[stored[name]] += math.prod(tensor["shape"])
    ((usual, _),) = numbers.most_common(1)
    return usual, stored


def complete_folder(target: Path, chat: Chat | None, base: Path, texts: Mapping[str, str]) -> None:
    """Put tokenizer, template, generation settings and documents beside trained weights.

    A model that learned no conversations (`chat` is None) keeps its base's template and settings.
    """
    copy_tokenizer(base, target)
    template = base / "chat_template.jinja"
    if chat is not None:
        (target / template.name).write_text(chat.template.source, encoding="utf-8")
    elif template.exists():
        shutil.copyfile(template, target / template.name)
    given = base / "generation_config.json"
    generation = json.loads(given.read_text()) if given.exists() else {}
    # Servers stop at the tokens of this file, so the trained end of turn must be among them.
    if chat is not None:
        generation["eos_token_id"] = sorted(chat.stops)
    (target / given.name).write_bytes(json_bytes(generation))
    for name, text in texts.items():
        (target / name).write_text(text, encoding="utf-8")


def model_card(
    request: TrainRequest, facts: Mapping[str, Json], *, adapter: bool, library: str | None = None
) -> str:
    """Return the README of a model's folder.

    Args:
        request: The training.
        facts: Facts of the training; of an adapter from elsewhere, few are known.
        adapter: True for an adapter; False for a whole model.
        library: Library that loads the folder; None for peft or transformers.
    """
    kind = "LoRA adapter" if adapter else "Model"
    rows = "\n".join(_card_rows(request, facts))
    origin = "trained by ftctl. `provenance.json` names the inputs, `metrics.json` the results."
    if "adopted" in facts:
        origin = "with an adapter that another program trained, and that ftctl adopted."
    # The hub refuses a card whose base model is a folder of somebody's machine.
    base = f"base_model: {request.base_model.reference}\n" if request.base_model.revision else ""
    return (
        f"---\n{base}"
        f"library_name: {library or ('peft' if adapter else 'transformers')}\n"
        f"pipeline_tag: text-generation\n---\n\n# {request.name}\n\n"
        f"{kind} {origin}\n\n"
        f"| | |\n|---|---|\n{rows}\n"
    )


def _as_cell(value: Json) -> str:
    """Return a setting as it stands in a table."""
    if isinstance(value, list):
        return ", ".join(f"`{one}`" for one in value)
    return f"{value:,}" if isinstance(value, int) else f"`{value}`".replace("|", r"\|")


def _card_rows(request: TrainRequest, facts: Mapping[str, Json]) -> Iterator[str]:
    yield f"| fingerprint | `{request.fingerprint}` |"
    yield f"| attempt | {request.attempt} |"
    yield f"| base model | `{request.base_model.identity}` |"
    yield f"| seed | {request.seed} |"
    for key in _OF_THE_TRAINING:
        if key in facts:
            yield f"| {key.replace('_', ' ')} | {facts[key]} |"
    for key in ("trained_parameters", *CHOICES):
        value = facts.get(key) or request.hyperparameters.get(key)
        if value is not None:
            yield f"| {key.replace('_', ' ')} | {_as_cell(value)} |"
    for key in ("held_out_reward_accuracy", "held_out_reward_margin", *_OF_THE_END):
        if key in facts:
            yield f"| {key.replace('_', ' ')} | {facts[key]} |"
