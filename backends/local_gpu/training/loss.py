"""The loss of labelled tokens, computed from labelled positions alone.

Only positions whose next token is learned go through the output layer. With a large vocabulary, that
layer needs most of the memory and, in small models, most of the time.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from backends.local_gpu.training.batching import LABELLED
from backends.local_gpu.training.packing.documents import inputs_of
from backends.local_gpu.training.tokenized_dataset import IGNORED

Chosen: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Rows and columns of some positions of a batch. Finding them would stop the host for a device."""

_PROBE: Final = 8
"""Tokens of the comparison that decides how logits are computed."""
_SAME: Final = {torch.float32: 1e-5}
"""Largest difference of equal logits, by dtype: the same operations run in another shape."""
_SAME_ELSE: Final = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledLoss:
    """The loss of one model."""

    logits: Callable[[Mapping[str, torch.Tensor], Chosen], torch.Tensor]
    """From a batch and some of its positions to their logits (chosen, vocabulary)."""

    def total(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the summed negative log likelihood of the labelled tokens, in nats."""
        return self.per_token(batch).sum()

    def per_token(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss of `total` for each labelled token, in the order of the batch."""
        return self._losses(batch, *_targets(batch))

    def per_example(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss of `total` for each example of the batch: (batch,)."""
        targets, chosen = _targets(batch)
        losses = self._losses(batch, targets, chosen)
        return torch.zeros(len(targets), device=losses.device).index_add_(0, chosen[0], losses)

    def _losses(
        self, batch: Mapping[str, torch.Tensor], targets: torch.Tensor, chosen: Chosen
    ) -> torch.Tensor:
        logits = self.logits(batch, chosen).float()
        return cross_entropy(logits, targets[chosen], reduction="none")


def labelled_loss(model: PreTrainedModel, *, head_learns: bool = True) -> LabelledLoss:
    """Find a way to compute a model's logits for some positions only.

    Some architectures scale or cap the output layer's result. This function tries it: where the
    short way gives other logits than the model itself, the model itself is used.

    Args:
        model: A model with or without an adapter.
        head_learns: True if an adapter that is put on the output layer later must count.
    """
    decoder, first_head = model.get_decoder(), model.get_output_embeddings()

    def short_way(batch: Mapping[str, torch.Tensor], chosen: Chosen) -> torch.Tensor:
        hidden = decoder(**inputs_of(batch)).last_hidden_state  # (batch, length, width)
        # An adapter replaces the output layer in the model.
        head = model.get_output_embeddings() if head_learns else first_head
        return head(hidden[chosen])

    def whole_way(batch: Mapping[str, torch.Tensor], chosen: Chosen) -> torch.Tensor:
        logits = model(**inputs_of(batch)).logits  # (batch, length, vocabulary)
        return logits[chosen]

    if first_head is None or decoder is None or decoder is model:
        return LabelledLoss(logits=whole_way)
    training = model.training
    model.eval()
    with torch.no_grad():
        ids = torch.arange(1, _PROBE + 1, device=model.device)[None]
        probe = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        everywhere = (torch.zeros_like(ids[0]), torch.arange(_PROBE, device=model.device))
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


def labels_in(batch: Mapping[str, torch.Tensor]) -> int:
    """Return the number of labelled tokens of a batch: those that `total` sums over."""
    return int(batch[LABELLED].shape[1])


def labels_by_row(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the number of labelled tokens of each example of a batch: (batch,)."""
    targets = _targets(batch)[0]
    return (targets != IGNORED).sum(dim=1)


def _targets(batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, Chosen]:
    """Return each position's next token, (batch, length), and the positions that count."""
    labels = batch["labels"]
    targets = torch.full_like(labels, IGNORED)
    targets[:, :-1] = labels[:, 1:]
    rows, columns = batch[LABELLED]
    return targets, (rows, columns)
