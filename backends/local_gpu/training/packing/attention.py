"""Attention within the documents of a packed row, registered with transformers as `NAME`.

The fast kernel is torch's own for sequences of variable length; it needs a GPU and half precision.
Elsewhere, documents of similar length become the rows of ordinary attention, which is as exact.

No mask is made for `NAME`. A batch that is not packed has its padding at the end, where no token of
an example looks.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, TypeAlias, TypedDict, Unpack

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from backends.local_gpu.training.packing.documents import Documents

NAME: Final = "ftctl_documents"
"""Name among transformers' attention functions."""
_MODULE: Final = "torch.nn.attention.varlen"
KERNEL: Final[Callable[..., torch.Tensor] | None] = (
    import_module(_MODULE).varlen_attn if find_spec(_MODULE) else None
)
"""Torch's attention for sequences of variable length; None before torch 2.10."""
_TAKES: Final = frozenset(inspect.signature(KERNEL).parameters) if KERNEL else frozenset[str]()
"""Names of the kernel's arguments, which differ between versions of torch."""
VARLEN: Final = "varlen"
SDPA: Final = "sdpa"
USED: Final[set[str]] = set()
"""Kernels that computed packed rows in this process: `VARLEN`, `SDPA`."""
_HALF: Final = (torch.bfloat16, torch.float16)
_LARGEST_HEAD: Final = 256
"""Largest head that the kernel computes."""
_LEAST_CAPABILITY: Final = (8, 0)
"""Compute capability of the first cards that the kernel runs on."""
_UNSUPPORTED: Final = ("softcap", "s_aux", "position_bias", "head_mask")
"""Arguments that change the scores in ways that are not computed here."""

Heads: TypeAlias = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Queries, keys and values of a row, each (length, heads, size); the latter may have fewer heads."""


class CannotPack(Exception):
    """A model's attention needs what is not computed for packed rows."""


class Options(TypedDict, total=False):
    """Arguments of transformers' attention functions that are read here; there are more."""

    scaling: float | None
    sliding_window: int | None
    dropout: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How a layer computes its scores."""

    scaling: float | None = None
    """Factor of the scores; None for the usual one."""
    window: int | None = None
    """Tokens that a token sees, with itself; None for all before it."""
    dropout: float = 0.0
    """Share of the scores that is dropped."""


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    documents: Documents | None = None,
    **options: Unpack[Options],
) -> tuple[torch.Tensor, None]:
    """Compute attention: the signature is transformers'.

    Args:
        module: The layer.
        query: (batch, heads, length, size), as are the others.
        key: The keys, which may have fewer heads.
        value: The values, with as many heads as the keys.
        attention_mask: None, unless a model makes a mask of its own.
        documents: The documents of a packed row.
        options: What else the model asks for.

    Returns:
        The result, (batch, length, heads, size).

    Raises:
        CannotPack: The model asks for something that is not computed for packed rows.
    """
    for name in _UNSUPPORTED:
        if options.get(name) is not None:
            raise CannotPack(f"its attention uses `{name}`")
    window = options.get("sliding_window")
    if documents is None:
        if attention_mask is None and window is not None:
            attention_mask = _band(query.shape[2], window, query.device)
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **options
        )
        return found
    if attention_mask is not None:
        raise CannotPack("it makes a mask of its own")
    scores = Scores(
        scaling=options.get("scaling"),
        # Where no document reaches beyond the window, it changes nothing.
        window=None if window is None or window >= documents.longest else window,
        dropout=float(options.get("dropout") or 0.0),
    )
    heads = _rows(query), _rows(key), _rows(value)
    if is_for_kernel(heads, scores):
        USED.add(VARLEN)
        return by_kernel(heads, documents, scores)[None], None
    USED.add(SDPA)
    return by_groups(heads, documents, scores)[None], None


def is_for_kernel(heads: Heads, scores: Scores) -> bool:
    """Return True if torch's kernel for documents computes attention of these tensors."""
    query, _, value = heads
    return (
        KERNEL is not None
        and query.is_cuda
        and query.dtype in _HALF
        and query.shape[-1] == value.shape[-1] <= _LARGEST_HEAD
        and torch.cuda.get_device_capability(query.device) >= _LEAST_CAPABILITY
        and scores.dropout == 0.0
        and (scores.window is None or "window_size" in _TAKES)
    )


def by_kernel(heads: Heads, documents: Documents, scores: Scores) -> torch.Tensor:
    """Compute attention within documents by torch's kernel: (length, heads, size)."""
    if KERNEL is None:
        raise CannotPack("torch has no attention for documents")
    query, key, value = heads
    options: dict[str, Any] = {}
    if "scale" in _TAKES:
        options["scale"] = scores.scaling
    elif scores.scaling is not None:
        query = query * (scores.scaling * query.shape[-1] ** 0.5)
    if "window_size" in _TAKES:
        # The kernel counts the tokens before the query's own.
        options["window_size"] = (-1 if scores.window is None else scores.window - 1, 0)
    else:
        options["is_causal"] = True
    times = query.shape[1] // key.shape[1]
    if "enable_gqa" in _TAKES:
        options["enable_gqa"] = times > 1
    else:
        key, value = (one.repeat_interleave(times, dim=1) for one in (key, value))
    rows = (one.contiguous() for one in (query, key, value))
    starts, longest = documents.starts, documents.longest
    return KERNEL(*rows, starts, starts, longest, longest, **options)


def by_groups(heads: Heads, documents: Documents, scores: Scores) -> torch.Tensor:
    """Compute attention within documents by ordinary attention: (length, heads, size)."""
    shared = heads[0].shape[1] != heads[1].shape[1]
    parts = []
    for group in documents.groups:
        band = _band(group.longest, scores.window, heads[0].device)
        query, key, value = (one[group.places].transpose(1, 2) for one in heads)
        result = scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=band,
            dropout_p=scores.dropout,
            is_causal=band is None,
            scale=scores.scaling,
            enable_gqa=shared,
        )
        parts.append(result.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)[documents.inverse]


def _band(length: int, window: int | None, where: torch.device) -> torch.Tensor | None:
    """Return the mask of a sliding window; None if the window holds the whole length."""
    if window is None or window >= length:
        return None
    every = torch.ones(length, length, dtype=torch.bool, device=where)
    return every.tril() & every.triu(1 - window)


def _rows(values: torch.Tensor) -> torch.Tensor:
    """Return the only row of a batch as (length, heads, size), in the computation's precision.

    A norm before the attention may have left another precision.
    """
    kind = values.device.type
    if torch.is_autocast_enabled(kind):
        values = values.to(torch.get_autocast_dtype(kind))
    return values[0].transpose(0, 1)


AttentionInterface.register(NAME, attend)
