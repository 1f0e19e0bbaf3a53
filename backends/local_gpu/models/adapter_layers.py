"""Check from the names in a base model's files if an adapter fits it, without reading weights.

Settings that the job would refuse are refused before it is submitted. Where the files do not tell,
as for a model that is not on this machine yet, the job decides.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backends.contract.errors import BackendError, FieldProblem
from backends.contract.inspector import Json
from backends.did_you_mean import did_you_mean
from backends.local_gpu.json_files import read_json
from backends.local_gpu.models.safetensors_headers import headers

_EXPERT: Final = re.compile(r"\.experts\.\d+\.(\w+)$")
_SAME_WEIGHTS: Final = ("lm_head", "embed_tokens", "wte", "word_embeddings")
_JOINED: Final = (("gate_proj", "up_proj"), ("w1", "w3"))
"""Layers of an expert that share a tensor once a model is loaded."""
JOINED_TYPES: Final = frozenset(
    [
        "afmoe",
        "beam",
        "cohere2_moe",
        "deepseek_v2",
        "deepseek_v3",
        "deepseek_v32",
        "dots1",
        "ernie4_5_moe",
        "exaone_moe",
        "flex_olmo",
        "glm4_moe",
        "glm4_moe_lite",
        "glm4v_moe",
        "glm_moe_dsa",
        "hunyuan_v1_moe",
        "longcat_flash",
        "mellum",
        "minimax",
        "minimax_m2",
        "mixtral",
        "olmoe",
        "qwen3_moe",
        "qwen3_next",
        "qwen3_omni_moe",
        "qwen3_omni_moe_text",
        "qwen3_omni_moe_thinker",
        "sarvam_mla",
        "solar_open",
    ]
)
"""Model types whose experts get adapters under the names in their files."""
_ROUTER: Final = "gate"
"""Layer that chooses experts in these model types; its adapter is of the experts' kind."""
_OTHERWISE: Final = {"gpt_oss": "router"}
"""Layers that look linear in a model type's files, but are of a special kind."""
_LINEAR: Final = 2
"""Dimensions of a linear layer's weights."""
_SHOWN: Final = 24
"""Largest number of names in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Layers of a base model, read from its files."""

    dimensions: Mapping[str, int]
    """Dimensions of each layer's weights by the layer's full name, without the experts."""
    experts: frozenset[str]
    """Last names of the experts' layers, each stored separately."""
    joined: bool
    """True if experts get adapters on tensors that contain several layers."""
    beside: frozenset[str]
    """Full names of layers outside the part that reads text."""
    tied: bool
    """True if input and output layer share their weights."""

    @property
    def names(self) -> set[str]:
        """Last names of the layers that an adapter can be put on."""
        found = {
            name.rpartition(".")[2]
            for name, dimensions in self.dimensions.items()
            if dimensions == _LINEAR and name not in self.beside
        }
        return (found | self.experts) - ({*_SAME_WEIGHTS} if self.tied else set())


def read_layers(folder: Path) -> Layers | None:
    """Read the layers from a model's files; None where the files are not on this machine.

    Args:
        folder: Folder of the model.
    """
    config = read_json(folder / "config.json")
    try:
        stored = {name: tensor for header in headers(folder) for name, tensor in header.items()}
    except BackendError:
        # A damaged file: loading the model reports it.
        return None
    if config is None or not stored:
        return None
    other = _OTHERWISE.get(str(config.get("model_type")))
    found = {
        name.removesuffix(".weight"): len(tensor["shape"])
        for name, tensor in stored.items()
        if name.endswith(".weight") and name.split(".")[-2] != other
    }
    experts = {match[1] for name in found if (match := _EXPERT.search(name))}
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) else config
    return Layers(
        dimensions={name: size for name, size in found.items() if not _EXPERT.search(name)},
        experts=frozenset(experts),
        joined=bool(experts) and config.get("model_type") in JOINED_TYPES,
        beside=_beside(found, seeing=text is not config),
        tied=text.get("tie_word_embeddings", config.get("tie_word_embeddings")) is not False
        and not any(name.endswith("lm_head") for name in found),
    )


def _beside(names: Sequence[str] | Mapping[str, int], *, seeing: bool) -> frozenset[str]:
    read = [name for name in names if "language_model" in name or name.endswith("lm_head")]
    if not seeing or not read:
        return frozenset()
    return frozenset(set(names) - set(read))


def problems_of(layers: Layers, settings: Mapping[str, Json]) -> list[FieldProblem]:
    """Return the reasons why an adapter with these settings cannot be trained on a model.

    Args:
        layers: Layers of the model.
        settings: Complete hyperparameters.
    """
    wanted = settings.get("target_modules")
    if wanted is None:
        return []
    named = [str(one) for one in wanted] if isinstance(wanted, list) else None
    problems = [] if named is None else list(_misnamed(layers, named))
    among = {*layers.experts, _ROUTER}
    on_experts = layers.joined and (
        named is None or any(one.rpartition(".")[2] in among for one in named)
    )
    if on_experts and settings.get("use_dora"):
        problems.append(
            FieldProblem(
                field="use_dora",
                message="adapters of this base model's experts have no lengths to learn",
                remedy="Remove it, or name the layers of its attention in `target_modules`.",
            )
        )
    if on_experts and settings.get("lora_dropout"):
        problems.append(
            FieldProblem(
                field="lora_dropout",
                message="nothing can be dropped from the adapters of this base model's experts",
                remedy="Write `lora_dropout: 0`, or name the layers of its attention "
                "in `target_modules`.",
            )
        )
    return problems


def _misnamed(layers: Layers, named: Sequence[str]) -> Iterator[FieldProblem]:
    """Yield a problem for each name of a layer that cannot have an adapter."""
    listed = sorted(layers.names)
    more = f", and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    known = f"Use `all-linear`, or some of: {', '.join(listed[:_SHOWN])}{more}."
    for one in dict.fromkeys(named):
        last = one.rpartition(".")[2]
        if layers.tied and last in _SAME_WEIGHTS:
            message = (
                f"{one} cannot have an adapter: the base model uses the same weights "
                "for its input and its output layer"
            )
            yield FieldProblem(field="target_modules", message=message, remedy=f"Remove {one}.")
            continue
        sizes = [
            (name, size)
            for name, size in layers.dimensions.items()
            if _tail(name) == _tail(one) or name.endswith(f".{_tail(one)}")
        ]
        if last in layers.experts or any(
            size == _LINEAR and name not in layers.beside for name, size in sizes
        ):
            continue
        if not sizes:
            message = f"the base model has no layer {one!r}"
            remedy = f"{did_you_mean(last, listed)} {known}".lstrip()
        elif all(size != _LINEAR for _, size in sizes):
            message, remedy = f"{one} is not a linear layer", known
        else:
            message = f"{one} belongs to the vision part, which learns nothing from texts"
            remedy = known
        yield FieldProblem(field="target_modules", message=message, remedy=remedy)
    lasts = {one.rpartition(".")[2] for one in named}
    for pair in _JOINED:
        given = [name for name in pair if name in lasts]
        if layers.joined and set(pair) <= layers.experts and len(given) == 1:
            (other,) = set(pair) - {*given}
            message = f"the experts have {' and '.join(pair)} in one tensor: {other} is missing"
            yield FieldProblem(field="target_modules", message=message, remedy=f"Add {other}.")


def _tail(name: str) -> str:
    """Return a name from `layers.` on: the prefix differs between file and memory."""
    before, layers, rest = name.rpartition("layers.")
    return layers + rest if before or layers else name
