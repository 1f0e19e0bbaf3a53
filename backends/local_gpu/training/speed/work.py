"""The arithmetic that a training needs, whatever its batches look like.

Counted as for model FLOP utilisation: products of matrices and attention, forwards and backwards.
What padding and recomputation add does not count, because no example needs it.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from backends.local_gpu.training.tokenized_dataset import Tokens

_FROZEN: Final = 2
"""Products of a frozen matrix for each of its forward ones: its inputs have gradients."""
_TRAINED: Final = 3
"""Products of a trained matrix: it has gradients too."""
_MATRIX: Final = 2
_EXPERTS: Final = 3
"""Dimensions of the weights of one layer, and of those of a layer of experts."""
_COUNTS: Final = ("num_experts", "num_local_experts", "n_routed_experts")
"""Names of the number of experts in the settings of models."""


def work_of(model: PreTrainedModel, rows: Tokens) -> float:
    """Return the floating-point operations of one epoch.

    Args:
        model: The model as it is trained, with its adapter if it has one.
        rows: The rows that are read.
    """
    decoder, head = model.get_decoder() or model, model.get_output_embeddings()
    total = float(rows.lengths.sum()) * _products(decoder, _share(model), leaving_out=head)
    if head is not None:
        total += float(rows.labels_by_row.sum()) * _products(head, 1.0)
    return total + sum(_scores(model, rows.lengths))


def _products(
    part: torch.nn.Module, share: float, leaving_out: torch.nn.Module | None = None
) -> float:
    """Return the operations of a part's matrices for one token.

    Args:
        part: The part.
        share: Share of the experts that compute a token.
        leaving_out: A layer inside the part that is counted elsewhere.
    """
    outside = set() if leaving_out is None else set(leaving_out.modules())
    total = 0.0
    for module in part.modules():
        if module in outside or isinstance(module, torch.nn.Embedding):
            continue
        for name, weights in module.named_parameters(recurse=False):
            times = _TRAINED if weights.requires_grad else _FROZEN
            if isinstance(module, torch.nn.Linear):
                # A quantised layer's weights have another shape.
                size = module.in_features * module.out_features if name == "weight" else 0
                total += 2.0 * times * size
            elif weights.dim() == _EXPERTS:
                total += 2.0 * times * weights.numel() * share
            elif weights.dim() == _MATRIX:
                total += 2.0 * times * weights.numel()
    return total


def _share(model: PreTrainedModel) -> float:
    """Return the share of a layer's experts that compute a token."""
    config = model.config.get_text_config()
    counts = (getattr(config, name, None) for name in _COUNTS)
    experts = next((count for count in counts if isinstance(count, int)), None)
    chosen = getattr(config, "num_experts_per_tok", None)
    return chosen / experts if experts and isinstance(chosen, int) else 1.0


def _scores(model: PreTrainedModel, lengths: npt.NDArray[np.int64]) -> Iterator[float]:
    """Yield the operations of every layer's attention, whose own matrices are not among them."""
    config = model.config.get_text_config()
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * layers
    for kind in kinds:
        seen = lengths.astype(float)
        if kind == "sliding_attention" and window:
            seen = np.minimum(seen, window)
        # Scores and sums, two operations each; a token sees half of its document on average.
        pairs = float((lengths * seen - seen * seen / 2).sum())
        if kind.endswith("attention") and not kind.startswith("linear"):
            yield _TRAINED * 2 * 2.0 * pairs * heads * size
