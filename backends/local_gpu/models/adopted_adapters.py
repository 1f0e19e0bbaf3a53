"""Adapters that another program trained, taken over as the result of a run. Needs no training package.

The model's folder and the result are written before the request: a run without a result is
continued by training, and what was adopted must never be trained.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backends.atomic_files import publish_dir, write_atomic
from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.contract.jobs import BaseModel, TrainRequest
from backends.excerpt import excerpt
from backends.local_gpu.jobs.run_dir import RunDir, create, run_of
from backends.local_gpu.json_files import json_bytes, read_json
from backends.local_gpu.models.base_models import local_folder
from backends.local_gpu.models.model_files import (
    copy_tokenizer,
    special_of,
    template_sources,
    weights_digest,
)
from backends.local_gpu.models.safetensors_headers import header, headers
from backends.local_gpu.models.targets.selection import TIED
from backends.local_gpu.models.targets.stored import read_stored

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
_PICKLED: Final = ("adapter_model.bin", "adapter_model.pt")
_PREFIX: Final = "base_model.model."
_HALVES: Final = (".lora_A.weight", ".lora_B.weight")
_HEAD: Final = "lm_head"
_NESTED: Final = ".base_layer"
"""Ending of a layer of which a second parameter has a pair."""
_DECLARED: Final = (
    "the adapter names its base model; no proof of that exists",
    "on which data and with which settings it was trained is only said",
)
_COPIED: Final = (CONFIG, WEIGHTS, "README.md")
_SHOWN: Final = 3
_MERGED: Final = (
    "Save the model with the adapter merged into it (`merge_and_unload` of peft), and write that "
    "folder as `base_model` with `method: prompt`."
)


def take_over(state: Path, request: TrainRequest, folder: Path) -> RunDir:
    """Make the run of a request from an adapter's folder, or return the run that exists.

    Args:
        state: Folder below which the backend keeps its files.
        request: The job that would have trained the adapter.
        folder: The adapter's folder, which stays as it is.

    Raises:
        BackendError: It is not an adapter of the base model, or the request has another model already.
    """
    require_adapter(folder)
    run = run_of(state, request)
    verified, remarks = _compared(folder, request.base_model)
    if run.model.exists() and _sha256(run.model / WEIGHTS) != _sha256(folder / WEIGHTS):
        raise BackendError(
            f"{run.path} has another model of the same inputs",
            "Move that folder away, or give the spec another `seed`.",
        )
    if not run.model.exists():
        _publish(run, request, folder)
    if not run.result.exists():
        facts: dict[str, Json] = {
            # Of what was copied: the folder may hold other weights too.
            "weights_digest": weights_digest(run.model),
            "adopted": {
                "from": f"the folder {folder.name}",
                "verified": verified,
                "declared": list(_DECLARED),
                **({"remarks": remarks} if remarks else {}),
                "files": {name: {"sha256": _sha256(folder / name)} for name in (CONFIG, WEIGHTS)},
            },
        }
        ended: dict[str, Json] = {"state": "succeeded", "facts": facts, "finished_s": time.time()}
        write_atomic(run.result, json_bytes(ended))
    create(state, request)
    return run


def require_adapter(folder: Path) -> None:
    """Require that a folder holds an adapter that can be put on a base model here.

    Raises:
        BackendError: Files are missing, or it is of a kind that is not loaded here.
    """
    config = read_json(folder / CONFIG)
    if config is None:
        raise BackendError(
            f"{folder} is not the folder of an adapter: {CONFIG} is missing or is not JSON",
            "Name the folder that `save_pretrained` of peft wrote.",
        )
    _require_kind(folder, config)
    if (folder / WEIGHTS).is_file():
        return
    pickled = next((name for name in _PICKLED if (folder / name).exists()), None)
    if pickled is None:
        raise BackendError(f"{folder} has no {WEIGHTS}", "Copy the weights into the folder.")
    raise BackendError(
        f"{folder / pickled} is a pickle, which can run code and is never loaded",
        "Write its tensors as safetensors where you trust it: "
        f"python -c \"import torch, safetensors.torch as s; s.save_file(torch.load('{pickled}', "
        f"weights_only=True), '{WEIGHTS}')\"",
    )


def _require_kind(folder: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise BackendError(
            f"{folder} is an adapter of the kind {excerpt(str(kind))}, and only LORA is loaded here",
            _MERGED,
        )
    task = config.get("task_type")
    if task not in {None, "CAUSAL_LM"}:
        raise BackendError(
            f"{folder} is an adapter for {excerpt(str(task))}, not for a model that answers",
            "Name an adapter with `task_type: CAUSAL_LM`.",
        )
    more = {
        "use_dora": "DoRA's magnitudes",
        "trainable_token_indices": "tokens of its own",
        "layer_replication": "repeated layers",
        "lora_bias": "biases",
        "alora_invocation_tokens": "an activation by tokens",
    }
    for key, what in more.items():
        if config.get(key):
            raise BackendError(
                f"{folder / CONFIG}: {key}: the adapter has {what}, which are not loaded here",
                _MERGED,
            )
    if config.get("bias", "none") != "none":
        raise BackendError(
            f"{folder / CONFIG}: bias: the adapter has biases, which are not loaded here",
            _MERGED,
        )


def _compared(folder: Path, base_model: BaseModel) -> tuple[list[Json], list[Json]]:
    """Return what was verified about an adapter and its base model, and what a person should know.

    Raises:
        BackendError: The adapter does not fit.
    """
    verified: list[Json] = [f"{WEIGHTS} has the digest sha256:{_sha256(folder / WEIGHTS)}"]
    base, held = local_folder(base_model), _contents(folder)
    if base is None:
        return verified, ["the base model is not on this machine: nobody looked whether it fits"]
    shapes = {
        name.removesuffix(".weight"): tuple(tensor["shape"])
        for part in headers(base)
        for name, tensor in part.items()
    }
    shared = {name for name in held.layers if held.parameters and _has_inside(shapes, name)}
    sized = {name: one for name, one in held.layers.items() if name not in shared} | held.whole
    if not shared and not any(name in shapes for name in sized):
        return verified, ["its layers have other names than those in the base model's files"]
    tied = _shares_weights(base)
    # Files lack the output layer where it has the weights of the input layer.
    if tied and _HEAD in sized and _HEAD not in shapes:
        sized.pop(_HEAD)
    wrong = [name for name, sizes in sized.items() if shapes.get(name) != sizes]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise BackendError(
            f"the adapter in {folder} does not fit {base_model.reference}: "
            f"{', '.join(wrong[:_SHOWN])}{more} is missing there or has another size",
            "Name the base model that it was trained from: --base_model NAME",
        )
    if sized:
        verified.append(
            f"all {len(sized)} layers of the adapter are in the base model, in equal sizes"
        )
    return verified, [*_remarks(folder, base), *_unusual(held, shared, tied=tied)]


def _has_inside(shapes: Mapping[str, tuple[int, ...]], layer: str) -> bool:
    """Return True if a base model has parameters inside a layer, as the experts of a layer are."""
    inside = f"{layer.removesuffix(_NESTED)}."
    return layer not in shapes and any(name.startswith(inside) for name in shapes)


def _shares_weights(base: Path) -> bool:
    stored = read_stored(base)
    return stored is not None and stored.known.tied


def _unusual(held: "_Contents", shared: set[str], *, tied: bool) -> Iterator[str]:
    """Yield what a person should know of whole layers and of adapters that experts share."""
    if shared:
        yield "the sizes of its adapters of experts were not compared with the base model's"
    ends = [name for name in held.whole if name.rpartition(".")[2] in TIED]
    if tied and ends and not held.stay_tied:
        yield (
            f"it has its own {' and '.join(sorted(ends))}, and its base model uses the same weights "
            "for its input and its output layer: such an adapter has no merged form"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """Weights of an adapter, by the names of their layers in the base model."""

    layers: Mapping[str, tuple[int, ...]]
    """Sizes of the layers that have a LoRA pair, output first."""
    whole: dict[str, tuple[int, ...]]
    """Sizes of the weights that were trained whole."""
    parameters: bool
    """True if some pairs are for parameters that experts share."""
    stay_tied: bool
    """True if an input and an output layer that were one stay one."""


def _contents(folder: Path) -> _Contents:
    """Read the names and sizes in an adapter's file.

    Raises:
        BackendError: The weights are damaged, or neither LoRA pairs nor layers that are named.
    """
    config = read_json(folder / CONFIG) or {}
    named = [str(one) for one in config.get("modules_to_save") or []]
    halves: dict[str, dict[str, Sequence[int]]] = {}
    whole: dict[str, tuple[int, ...]] = {}
    for name, tensor in header(folder / WEIGHTS).items():
        half = next((end for end in _HALVES if name.endswith(end)), None)
        inside = name.removeprefix(_PREFIX)
        layer = inside.rpartition(".")[0]
        is_whole = any(layer == one or layer.endswith(f".{one}") for one in named)
        if not name.startswith(_PREFIX) or (half is None and not is_whole):
            raise BackendError(
                f"{folder / WEIGHTS} holds {excerpt(name)}, which is not half of a LoRA pair",
                "Save the adapter with peft: model.save_pretrained(FOLDER).",
            )
        if half is not None:
            halves.setdefault(inside.removesuffix(half), {})[half] = tensor["shape"]
        else:
            whole[inside.removesuffix(".weight")] = tuple(tensor["shape"])
    down, up = _HALVES
    if not halves or any(set(pair) != set(_HALVES) for pair in halves.values()):
        raise BackendError(f"{folder / WEIGHTS} is incomplete", "Copy the whole file again.")
    return _Contents(
        layers={name: (pair[up][0], pair[down][-1]) for name, pair in sorted(halves.items())},
        whole=whole,
        parameters=bool(config.get("target_parameters")),
        stay_tied=bool(config.get("ensure_weight_tying")),
    )


def _remarks(folder: Path, base: Path) -> Iterator[str]:
    try:
        own, of_base = template_sources(folder, None), template_sources(base, None)
    except BackendError:
        own, of_base = {}, {}
    if own != of_base:
        yield (
            "its chat template is not that of the base model, which is used here: if it was trained "
            "with its own, its answers are worse"
        )
    if (folder / "tokenizer.json").exists() and special_of(folder) != special_of(base):
        yield "its tokenizer has other control tokens than the base model, whose tokenizer is used"


def _publish(run: RunDir, request: TrainRequest, folder: Path) -> None:
    """Give a run its model: complete, or not there."""
    run.path.mkdir(parents=True, exist_ok=True)
    for old in run.path.glob("model.partial-*"):
        shutil.rmtree(old, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(dir=run.path, prefix="model.partial-"))
    base = local_folder(request.base_model)
    if base is not None:
        copy_tokenizer(base, partial)
        for name in ("chat_template.jinja", "generation_config.json"):
            if (base / name).exists():
                shutil.copyfile(base / name, partial / name)
    for name in _COPIED:
        if (folder / name).exists():
            shutil.copyfile(folder / name, partial / name)
    provenance: dict[str, Json] = {
        "name": request.name,
        "fingerprint": request.fingerprint,
        "attempt": request.attempt,
        "adopted_from": folder.name,
        "base_model": {
            "reference": request.base_model.reference,
            "revision": request.base_model.revision,
            "identity": request.base_model.identity,
        },
    }
    (partial / "provenance.json").write_bytes(json_bytes(provenance))
    partial.chmod(0o755)
    publish_dir(partial, run.model)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
