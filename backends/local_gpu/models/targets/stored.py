"""Trainable layers of a model, by its files. Reads no weights, imports no training package.

Names are those of the loaded model, as far as files tell: experts that it joins have one name.
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
from backends.local_gpu.models.targets.selection import Candidate, Kind, Known

_BESIDE: Final = re.compile(r"vision|visual|audio|image|multi_modal|mtp\b")
_EXPERT: Final = re.compile(r"^(.+\.experts)\.(\d+)\.(\w+)\.weight$")
_JOINED_AS: Final[Mapping[str, str]] = {
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
    "w1": "gate_up_proj",
    "w3": "gate_up_proj",
    "down_proj": "down_proj",
    "w2": "down_proj",
}
_ROUTERS: Final = ("gate", "router")
_EMBEDDINGS: Final = ("embed_tokens", "wte", "word_embeddings")
_LANGUAGE: Final = re.compile(
    r"(?:model\.language_model\.|language_model\.model\.|language_model\.|model\.)?"
    r"(?=(?:layers|embed_tokens|norm|lm_head)\.)"
)
"""Prefix of the language part's names in the files of a model that sees."""
_TEXT_ALONE: Final = frozenset(
    ["dots3_note", "emu3", "llama4", "mllama", "qwen3_5", "qwen3_5_moe", "qwen4_exp"]
)
"""Types of models that see, of which training loads the language part alone."""
_TRANSPOSED: Final = frozenset({"gpt2"})
_MATRIX: Final = 2
_BANK: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A base model by its files."""

    known: Known
    weights: int
    """Numbers of the whole model, vision included."""
    beside: int
    """Numbers of its parts beside the language part."""
    named: bool
    """True if its layers have these names once it is loaded; False if it has such parts, and the
    language part is not named in a usual way."""


def read_stored(folder: Path) -> Stored | None:
    """Return the trainable layers of a model; None if its files are not here or damaged.

    Args:
        folder: Folder of the model.
    """
    config, sizes = read_json(folder / "config.json"), tensor_sizes(folder)
    if config is None or not sizes:
        return None
    inner = config.get("text_config")
    text: Mapping[str, Any] = inner if isinstance(inner, dict) else config
    outer = None
    if text is not config:
        alone = config.get("model_type") in _TEXT_ALONE
        outer = "model." if alone else "model.language_model."
    language = {name: size for name, size in sizes.items() if not _BESIDE.search(name)}
    own = {_as_loaded(name, outer): size for name, size in language.items()}
    kind = str(text.get("model_type", config.get("model_type", "")))
    found = [*_joined(own, has_names=kind in JOINED_TYPES)]
    joined = bool(found)
    for name, size in own.items():
        match = _EXPERT.match(name)
        if match is not None and match[3] in _JOINED_AS:
            continue
        one = _candidate(
            name,
            size,
            former=("gate",) if joined and kind in JOINED_TYPES else (),
            routes=joined,
            transposed=kind in _TRANSPOSED,
        )
        if one is not None:
            found.append(one)
    ties = text.get("tie_word_embeddings", config.get("tie_word_embeddings")) is not False
    tied = ties and not any(one.kind is Kind.HEAD for one in found)
    weights, inside = (sum(map(prod, some.values())) for some in (sizes, own))
    return Stored(
        known=Known(candidates=tuple(found), tied=tied),
        weights=weights,
        beside=weights - inside,
        named=outer is None or all(map(_LANGUAGE.match, language)),
    )


def _as_loaded(name: str, outer: str | None) -> str:
    """Return the name of a loaded layer; Mixtral's experts are elsewhere in its files.

    Args:
        name: Name in the files.
        outer: Prefix of the language part in a loaded model that sees; None for other models.
    """
    name = name.replace(".block_sparse_moe.", ".mlp.")
    found = None if outer is None else _LANGUAGE.match(name)
    if outer is None or found is None:
        return name
    inside = name[found.end() :]
    return inside if inside.startswith("lm_head.") else outer + inside


def _joined(own: Mapping[str, list[int]], *, has_names: bool) -> Iterator[Candidate]:
    """Yield the experts of each layer as the two parameters that they become.

    Args:
        own: Sizes by the names in the files.
        has_names: True if `target_modules` chooses experts by their names in the files.
    """
    banks: dict[tuple[str, str], list[tuple[str, list[int]]]] = {}
    counts: dict[str, int] = {}
    for name, size in own.items():
        match = _EXPERT.match(name)
        if match is None or match[3] not in _JOINED_AS:
            continue
        counts[match[1]] = max(counts.get(match[1], 0), int(match[2]) + 1)
        if match[2] == "0":
            bank = banks.setdefault((match[1], _JOINED_AS[match[3]]), [])
            bank.append((match[3], size))
    for (owner, name), parts in banks.items():
        yield Candidate(
            name=f"{owner}.{name}",
            kind=Kind.EXPERTS,
            out=sum(size[0] for _, size in parts),
            into=parts[0][1][1],
            experts=counts[owner],
            former=tuple(part for part, _ in parts) if has_names else (),
            joins=len(parts) if has_names else 1,
        )


def _candidate(
    name: str, size: list[int], *, former: tuple[str, ...], routes: bool, transposed: bool
) -> Candidate | None:
    owner, _, key = name.rpartition(".")
    last = owner.rpartition(".")[2]
    if len(size) == _BANK and "experts" in name:
        return Candidate(name=name, kind=Kind.EXPERTS, out=size[2], into=size[1], experts=size[0])
    if key != "weight":
        return None
    if len(size) != _MATRIX:
        return Candidate(name=owner, kind=Kind.OTHER, out=prod(size), into=1)
    if last in _EMBEDDINGS:
        return Candidate(name=owner, kind=Kind.EMBEDDING, out=size[1], into=size[0])
    if last in _ROUTERS and (routes or last == "router"):
        return Candidate(name=name, kind=Kind.ROUTER, out=size[0], into=size[1], former=former)
    out, into = reversed(size) if transposed else size
    kind = Kind.HEAD if last == "lm_head" else Kind.LINEAR
    if ".layers." not in name and ".h." not in name and kind is Kind.LINEAR:
        return Candidate(name=owner, kind=Kind.OTHER, out=out, into=into)
    return Candidate(name=owner, kind=kind, out=out, into=into)
