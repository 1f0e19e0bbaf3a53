"""Reasons why packed examples cannot be kept apart in a base model, from its `config.json`.

The run's own check on the loaded model has the last word; this one comes before anything is started.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from backends.contract.errors import FieldProblem
from backends.contract.inspector import Json
from backends.local_gpu.json_files import read_json

_ATTENTION: Final = frozenset({"full_attention", "sliding_attention"})
"""Kinds of layers that look at other tokens of a document, and at nothing else."""
_STATE: Final = (
    "state_size",
    "ssm_state_size",
    "mamba_d_state",
    "linear_key_head_dim",
    "conv_L_cache",
    "lru_width",
    "rescale_every",
)
"""Settings of layers that carry a state along the row."""
_OLDER: Final = frozenset({"bloom", "codegen", "falcon", "gpt_neo", "gptj", "mpt"})
"""Model types whose attention transformers does not let others compute."""
_SINKS: Final = frozenset({"gpt_oss", "mimo_v2_flash"})
"""Model types whose attention has sinks."""


def packing_problems(folder: Path, settings: Mapping[str, Json]) -> list[FieldProblem]:
    """Return the problems of `packing` with a base model; none where it is not on this machine.

    Args:
        folder: Folder of the model.
        settings: Complete hyperparameters.
    """
    config: Mapping[str, Any] = read_json(folder / "config.json") or {}
    reason = unpackable(config) if settings.get("packing") else None
    if reason is None:
        return []
    return [
        FieldProblem(
            field="packing",
            message=f"{config.get('model_type')} does not keep packed examples apart: {reason}",
            remedy="Remove it. `max_tokens_per_batch` alone puts examples of similar length "
            "together.",
        )
    ]


def unpackable(config: Mapping[str, Any]) -> str | None:
    """Return why a model's packed examples would see each other; None if nothing speaks for that."""
    inner = config.get("text_config")
    text: Mapping[str, Any] = inner if isinstance(inner, dict) else config
    kinds = {str(one) for one in text.get("layer_types") or ()} - _ATTENTION
    if kinds:
        return f"it has layers of {' and '.join(sorted(kinds))}"
    if any(text.get(key) for key in _STATE):
        return "some of its layers carry a state from one token to the next"
    if text.get("attention_chunk_size"):
        return "its attention is in chunks of the row"
    if text.get("attn_logit_softcapping"):
        return "its attention caps its scores (attn_logit_softcapping)"
    kind = str(text.get("model_type", config.get("model_type")))
    if kind in _SINKS:
        return "its attention has sinks"
    if kind in _OLDER:
        return "transformers has a fixed attention for it"
    return None
