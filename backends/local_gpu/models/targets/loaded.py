"""Trainable layers of a loaded model, and the settings of peft that choose them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from backends.contract.errors import BackendError
from backends.local_gpu.models.adapter_layers import JOINED_TYPES
from backends.local_gpu.models.language_part import decoder_name, shares_weights
from backends.local_gpu.models.targets.selection import (
    ENDS,
    TIED,
    Candidate,
    Kind,
    Known,
    Targets,
    select,
)

_MATRIX: Final = 2
_BANK: Final = 3
ROUTERS: Final = ("gate", "router")
FORMER: Final[Mapping[str, tuple[str, ...]]] = {
    "gate_up_proj": ("gate_proj", "up_proj", "w1", "w3"),
    "down_proj": ("down_proj", "w2"),
    "weight": ("gate",),
}
"""Names in the files of a model for what its experts' parameters hold, in the types that join them."""
_WIDENED: Final = "gate_up_proj"
_WIDENING: Final = rf".*\.{_WIDENED}"


def known_of(model: PreTrainedModel) -> Known:
    """Return what an adapter can train of the language part of a loaded model."""
    return Known(
        candidates=tuple(_candidates(model)),
        tied=shares_weights(model),
    )


def _candidates(model: PreTrainedModel) -> Iterator[Candidate]:
    head, words = model.get_output_embeddings(), model.get_input_embeddings()
    inside = decoder_name(model)
    joined = model.config.get_text_config().model_type in JOINED_TYPES
    for name, module in model.named_modules():
        if module is not head and inside and not name.startswith(f"{inside}."):
            continue
        if isinstance(module, torch.nn.Linear):
            kind = Kind.HEAD if module is head else Kind.LINEAR
            yield Candidate(name=name, kind=kind, out=module.out_features, into=module.in_features)
        elif isinstance(module, Conv1D):
            into, out = module.weight.shape
            yield Candidate(name=name, kind=Kind.LINEAR, out=out, into=into)
        elif module is words:
            yield Candidate(
                name=name, kind=Kind.EMBEDDING, out=words.embedding_dim, into=words.num_embeddings
            )
        else:
            yield from _parameters(name, module, joined=joined)


def _parameters(name: str, module: torch.nn.Module, *, joined: bool) -> Iterator[Candidate]:
    own = dict(module.named_parameters(recurse=False))
    for key, weights in own.items():
        full, shape = f"{name}.{key}", tuple(weights.shape)
        former = FORMER.get(key, ()) if joined else ()
        if len(shape) == _BANK and "experts" in name:
            experts, into, out = shape
            yield Candidate(
                name=full,
                kind=Kind.EXPERTS,
                out=out,
                into=into,
                experts=experts,
                former=former,
                joins=2 if former and key == _WIDENED else 1,
            )
        elif len(shape) == _MATRIX and name.rpartition(".")[2] in ROUTERS:
            out, into = shape
            yield Candidate(name=full, kind=Kind.ROUTER, out=out, into=into, former=former)
    if own and not any(len(weights.shape) > 1 for weights in own.values()):
        size = sum(weights.numel() for weights in own.values())
        yield Candidate(name=name, kind=Kind.OTHER, out=size, into=1)


def peft_choice(model: PreTrainedModel, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `LoraConfig` that choose what hyperparameters name, in full.

    Raises:
        BackendError: They choose nothing, or what cannot be trained.
    """
    chosen = select(known_of(model), settings)
    if not chosen.layers and not chosen.parameters:
        raise BackendError(
            "no adapter can be put on the base model: the hyperparameters choose no layer of it",
            "Type `ftctl plan`: it names what can be chosen.",
        )
    tied = shares_weights(model)
    if tied:
        _require_own_weights(chosen)
    layers, parameters = _as_peft_takes(model, chosen)
    rank, alpha = {}, {}
    if chosen.widened and any(one.joins > 1 for one in chosen.parameters):
        rank, alpha = ({_WIDENING: 2 * settings[key]} for key in ("r", "lora_alpha"))
    saved = [one.name for one in chosen.saved]
    return {
        "rank_pattern": rank,
        "alpha_pattern": alpha,
        "target_modules": layers,
        "target_parameters": parameters or None,
        "modules_to_save": saved or None,
        "ensure_weight_tying": tied and _is_shared(chosen.saved),
    }


def _as_peft_takes(model: PreTrainedModel, chosen: Targets) -> tuple[list[str], list[str]]:
    """Return the full names of layers and of parameters.

    In types whose experts are joined, peft takes a layer `gate_proj` beside the experts for theirs.
    Its weights are named as a parameter, for which the adapter is the same.
    """
    layers = [one.name for one in chosen.layers]
    parameters = [one.name for one in chosen.parameters]
    if model.config.get_text_config().model_type in JOINED_TYPES:
        mistaken = {part for parts in FORMER.values() for part in parts}
        beside = [name for name in layers if name.rpartition(".")[2] in mistaken]
        layers = [name for name in layers if name not in beside]
        parameters += [f"{name}.weight" for name in beside]
    return layers, parameters


def _is_shared(chosen: Iterable[Candidate]) -> bool:
    return any(one.kind in ENDS for one in chosen)


def _require_own_weights(chosen: Targets) -> None:
    """Require that shared weights get no adapter, and are trained whole only under peft's names.

    Raises:
        BackendError: They do, or have another name.
    """
    for one in chosen.layers:
        if _is_shared([one]):
            last = one.name.rpartition(".")[2]
            whole = f"Write `modules_to_save: [{last}]`, which trains them whole, or leave"
            raise BackendError(
                f"no adapter can be put on {one.name}: "
                "the base model uses the same weights for its input and its output layer",
                f"{whole if last in TIED else 'Leave'} {last} out.",
            )
    for one in chosen.saved:
        last = one.name.rpartition(".")[2]
        if _is_shared([one]) and last not in TIED:
            raise BackendError(
                f"{one.name} cannot be trained whole: its weights are those of the output layer "
                "too, and peft cannot train both as one under this name",
                f"Remove {last} from `modules_to_save`.",
            )
