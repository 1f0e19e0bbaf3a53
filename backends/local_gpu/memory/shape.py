"""The shape of a language model, read from its settings and the headers of its weights.

Names of settings differ between architectures. A model whose settings do not tell its sizes has no
shape, and nothing is estimated for it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from backends.local_gpu.json_files import read_json
from backends.local_gpu.models.adapter_layers import JOINED_TYPES
from backends.local_gpu.models.safetensors_headers import tensor_sizes
from backends.local_gpu.models.targets.stored import Stored, read_stored

_LAYER: Final = re.compile(r"\.(\d+)\.(.+)$")
_EXPERTS: Final = re.compile(r"\bexperts\b")
_BESIDE: Final = re.compile(r"vision|visual|audio|image|multi_modal|mtp\b")
_MATRIX: Final = 2
_BANK: Final = 3
_SIMPLE: Final = frozenset({"gelu", "gelu_pytorch_tanh", "relu", "silu", "swish"})
"""Activation functions that are one operation."""
_EAGER: Final = frozenset({"gemma2", "gpt_oss"})
"""Model types whose attention keeps its probabilities: it caps or extends them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a language model."""

    model_type: str
    hidden: int
    layers: int
    heads: int
    queries: int
    """Width of all heads' queries together."""
    keys: int
    """Width of all heads' keys together."""
    inner: int
    """Width inside the feed-forward part, or inside one expert."""
    experts: int
    """Experts of a layer; 0 without."""
    active: int
    """Experts, or feed-forward parts, that treat one token."""
    gated: bool
    simple: bool
    """True if the activation function is one operation."""
    eager: bool
    capped: bool
    """True if attention scores are capped."""
    caps_logits: bool
    """True if logits are capped or scaled."""
    queries_normed: bool
    norms: int
    """Normalisations of a layer over its whole width."""
    layer_norms: bool
    """True if they are LayerNorms, which keep their input as it is."""
    vocabulary: int
    longest: int | None
    """Most tokens that it reads at once; None if its settings do not name them."""
    parameters: int
    """Numbers of the language part."""
    beside: int
    """Numbers of other parts, such as vision."""
    fixed_attention: int
    """Layers with linear attention."""
    fixed_width: int
    """Width of the values of linear attention."""
    fixed_heads: int
    shared: int
    """Width inside the feed-forward part that treats every token beside the experts."""
    linear: tuple[tuple[str, int, int], ...]
    """Last name, output and input width of each linear layer of the language part."""
    banks: tuple[tuple[str, int], ...]
    """Last name and numbers of each tensor that holds the weights of several experts."""
    joined: bool
    """True if adapters are put on the weights of several experts at once."""
    stored: Stored
    """Its trainable layers."""


def read_shape(folder: Path) -> Shape | None:
    """Return the shape of a model; None if its files are not here or do not tell it.

    Args:
        folder: Folder of the model.
    """
    config, stored = read_json(folder / "config.json"), tensor_sizes(folder)
    choices = read_stored(folder)
    if config is None or not stored or choices is None:
        return None
    inner = config.get("text_config")
    text: Mapping[str, Any] = inner if isinstance(inner, dict) else config
    try:
        return _shape(text, stored, choices)
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None


def _shape(text: Mapping[str, Any], stored: Mapping[str, list[int]], choices: Stored) -> Shape:
    own = {name: size for name, size in stored.items() if not _BESIDE.search(name)}
    hidden = _first(text, "hidden_size", "n_embd", "d_model")
    layers = _first(text, "num_hidden_layers", "n_layer", "num_layers")
    heads = _first(text, "num_attention_heads", "n_head", "num_heads")
    width = int(text.get("head_dim") or hidden // heads)
    experts = int(
        text.get("num_experts")
        or text.get("num_local_experts")
        or text.get("n_routed_experts")
        or 0
    )
    inner = text.get("intermediate_size") or text.get("n_inner") or 4 * hidden
    if experts and text.get("moe_intermediate_size"):
        inner = text["moe_intermediate_size"]
    activation = str(text.get("hidden_activation") or text.get("hidden_act") or "gelu_new")
    if "activation_function" in text:
        activation = str(text["activation_function"])
    names = set(_of_one_layer(own))
    model_type = str(text.get("model_type", ""))
    return Shape(
        model_type=model_type,
        hidden=hidden,
        layers=layers,
        heads=heads,
        queries=heads * width,
        keys=int(text.get("num_key_value_heads") or heads) * width,
        inner=int(inner),
        experts=experts,
        active=int(text.get("num_experts_per_tok") or 1) if experts else 1,
        gated=any("gate" in name or "w3" in name for name in names if "router" not in name),
        simple=activation in _SIMPLE,
        eager=model_type in _EAGER,
        capped=text.get("attn_logit_softcapping") is not None,
        caps_logits=text.get("final_logit_softcapping") is not None,
        queries_normed=any("q_norm" in name or "query_norm" in name for name in names),
        norms=sum(1 for name in names if _is_norm(name, own, hidden)),
        layer_norms=text.get("layer_norm_epsilon") is not None or "layer_norm_eps" in text,
        vocabulary=int(text["vocab_size"]),
        longest=context
        if isinstance(context := text.get("max_position_embeddings"), int)
        else None,
        parameters=sum(prod(size) for size in own.values()),
        beside=sum(prod(size) for name, size in stored.items() if name not in own),
        fixed_attention=list(text.get("layer_types") or []).count("linear_attention"),
        fixed_width=int(text.get("linear_num_value_heads") or 0)
        * int(text.get("linear_value_head_dim") or 0),
        fixed_heads=int(text.get("linear_num_value_heads") or 0),
        shared=_shared(text, int(inner)),
        linear=tuple(_linear(own, transposed=model_type == "gpt2")),
        banks=tuple(_banks(own)),
        joined=model_type in JOINED_TYPES,
        stored=choices,
    )


def _first(text: Mapping[str, Any], *keys: str) -> int:
    """Return the first size of some names.

    Raises:
        KeyError: The settings have none of these names.
        ValueError: The size is not a positive number.
    """
    found = next((text[key] for key in keys if text.get(key)), None)
    if found is None:
        raise KeyError(keys[0])
    if (size := int(found)) < 1:
        raise ValueError(f"{found} is not a size")
    return size


def _shared(text: Mapping[str, Any], inner: int) -> int:
    width = text.get("shared_expert_intermediate_size")
    return int(width or int(text.get("n_shared_experts") or 0) * inner)


def _of_one_layer(own: Mapping[str, list[int]]) -> Iterator[str]:
    """Yield the names of weights inside a layer, without the layer's number."""
    for name in own:
        if (found := _LAYER.search(name)) is not None:
            yield found[2]


def _is_norm(name: str, own: Mapping[str, list[int]], hidden: int) -> bool:
    """Return True for a weight of a normalisation over the whole width."""
    is_one = name.endswith(".weight") and ("norm" in name or "ln_" in name)
    sizes = [size for key, size in own.items() if key.endswith(f".{name}")]
    of_heads = "q_norm" in name or "k_norm" in name or "linear_attn" in name
    return is_one and not of_heads and [hidden] in sizes


def _linear(own: Mapping[str, list[int]], *, transposed: bool) -> Iterator[tuple[str, int, int]]:
    for name, size in own.items():
        if _LAYER.search(name) is None or len(size) != _MATRIX or not name.endswith(".weight"):
            continue
        if _EXPERTS.search(name) or name.endswith(("embed_tokens.weight", ".router.weight")):
            continue
        last = name.removesuffix(".weight").rpartition(".")[2]
        out, into = reversed(size) if transposed else size
        yield last, out, into


def _banks(own: Mapping[str, list[int]]) -> Iterator[tuple[str, int]]:
    for name, size in own.items():
        if _EXPERTS.search(name) and len(size) in {_MATRIX, _BANK} and "bias" not in name:
            yield name.removesuffix(".weight").rpartition(".")[2], prod(size)
