"""The loss of labelled tokens, computed from labelled positions alone.

Only positions whose next token is learned go through the output layer. With a large vocabulary, that
layer needs most of the memory and, in small models, most of the time.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from backends.local_gpu.training.tokenized_dataset import IGNORED

_PROBE: Final = 8
"""Tokens of the comparison that decides how logits are computed."""
_SAME: Final = {torch.float32: 1e-5}
"""Largest difference of equal logits, by dtype: the same operations run in another shape."""
_SAME_ELSE: Final = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledLoss:
    """The loss of one model."""

    logits: Callable[[Mapping[str, torch.Tensor], torch.Tensor], torch.Tensor]
    """From a batch and a mask (batch, length) of positions to their logits (chosen, vocabulary)."""

    def total(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the summed negative log likelihood of the labelled tokens, in nats."""
        targets, chosen = _targets(batch)
        logits = self.logits(batch, chosen).float()
        return cross_entropy(logits, targets[chosen], reduction="sum")

    def per_example(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss of `total` for each example of the batch: (batch,)."""
        targets, chosen = _targets(batch)
        logits = self.logits(batch, chosen).float()
        losses = cross_entropy(logits, targets[chosen], reduction="none")
        rows = chosen.nonzero()[:, 0]
        return torch.zeros(len(targets), device=losses.device).index_add_(0, rows, losses)


def labelled_loss(model: PreTrainedModel, *, head_learns: bool = True) -> LabelledLoss:
    """Find a way to compute a model's logits for some positions only.

    Some architectures scale or cap the output layer's result. This function tries it: where the
    short way gives other logits than the model itself, the model itself is used.

    Args:
        model: A model with or without an adapter.
        head_learns: True if an adapter that is put on the output layer later must count.
    """
    decoder, first_head = model.get_decoder(), model.get_output_embeddings()

    def short_way(batch: Mapping[str, torch.Tensor], chosen: torch.Tensor) -> torch.Tensor:
        hidden = decoder(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
        ).last_hidden_state  # (batch, length, width)
        # An adapter replaces the output layer in the model.
        head = model.get_output_embeddings() if head_learns else first_head
        return head(hidden[chosen])

    def whole_way(batch: Mapping[str, torch.Tensor], chosen: torch.Tensor) -> torch.Tensor:
        logits = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
        ).logits  # (batch, length, vocabulary)
        return logits[chosen]

    if first_head is None or decoder is None or decoder is model:
        return LabelledLoss(logits=whole_way)
    training = model.training
    model.eval()
    with torch.no_grad():
        ids = torch.arange(1, _PROBE + 1, device=model.device)[None]
        probe = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        everywhere = torch.ones_like(ids, dtype=torch.bool)
        short, whole = short_way(probe, everywhere), whole_way(probe, everywhere)
        near = _SAME.get(whole.dtype, _SAME_ELSE)
        same = torch.allclose(short.float(), whole.float(), rtol=near, atol=near)
    model.train(training)
    return LabelledLoss(logits=short_way if same else whole_way)


def computing(where: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Return the context that computes in a precision, whatever that of the weights is."""
    precision: AbstractContextManager[None] = torch.autocast(
        where.type, dtype=dtype, enabled=dtype != torch.float32
    )
    return precision


def labels_in(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the number of labelled tokens of a batch: those that `total` sums over."""
    return _targets(batch)[1].sum()


def labels_by_row(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the number of labelled tokens of each example of a batch: (batch,)."""
    return _targets(batch)[1].sum(dim=1)


def _targets(batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each position's next token, and the positions that count: both (batch, length)."""
    labels = batch["labels"]
    targets = torch.full_like(labels, IGNORED)
    targets[:, :-1] = labels[:, 1:]
    return targets, targets != IGNORED
