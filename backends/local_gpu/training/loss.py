"""The loss of labelled tokens, computed from labelled positions alone.

Only positions whose next token is learned go through the output layer. With a large vocabulary, that
layer needs most of the memory and, in small models, most of the time: its logits are computed
in tiles.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import MoeModelOutputWithPast

from backends.local_gpu.training.batching import LABELLED, Batch
from backends.local_gpu.training.packing.documents import inputs_of
from backends.local_gpu.training.packing.shared_prefix import Sharing, shared_row
from backends.local_gpu.training.tiles import Head, rows_of_tile, token_losses
from backends.local_gpu.training.tokenized_dataset import IGNORED

Chosen: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Rows and columns of some positions of a batch. Finding them would stop the host for a device."""
Hidden: TypeAlias = Callable[[Batch, Chosen], torch.Tensor]
Way: TypeAlias = tuple[Hidden, Head]
"""A way to logits: see `LabelledLoss`."""

_PROBE: Final = 8
"""Tokens of the comparison that decides how logits are computed."""
_SAME: Final = {torch.float32: 1e-5}
"""Largest difference of equal logits, by dtype: the same operations run in another shape."""
_SAME_ELSE: Final = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledLoss:
    """The loss of one model."""

    hidden: Hidden
    """From a batch and some of its positions to what `head` needs: (chosen, width)."""
    head: Head
    """From the result of `hidden` to logits (chosen, vocabulary)."""
    head_learns: Callable[[], bool]
    """Returns True if weights that `head` uses are trained."""
    vocabulary: int
    """Number of logits of a position."""
    sharing: Sharing = field(default_factory=Sharing)
    """Whether `hidden` computes what all rows of a batch begin with only once."""

    def total(self, batch: Batch) -> torch.Tensor:
        """Return the summed negative log likelihood of the labelled tokens, in nats."""
        return self.per_token(batch).sum()

    def per_token(self, batch: Batch) -> torch.Tensor:
        """Return the loss of `total` for each labelled token, in the order of the batch."""
        return self._losses(batch, *_targets(batch))

    def per_example(self, batch: Batch) -> torch.Tensor:
        """Return the loss of `total` for each example of the batch: (batch,)."""
        targets, chosen = _targets(batch)
        losses = self._losses(batch, targets, chosen)
        return torch.zeros(len(targets), device=losses.device).index_add_(0, chosen[0], losses)

    def _losses(self, batch: Batch, targets: torch.Tensor, chosen: Chosen) -> torch.Tensor:
        return token_losses(
            self.head,
            self.hidden(batch, chosen),
            targets[chosen],
            rows_of_tile(self.vocabulary, targets.device.type),
            self.head_learns,
        )


def labelled_loss(model: PreTrainedModel, *, head_learns: bool = True) -> LabelledLoss:
    """Find a way to compute a model's logits for some positions only.

    Some architectures scale or cap the output layer's result. This function tries the output layer
    alone, then the model without its decoder. Where both give other logits than the model itself,
    the model computes all of them.

    Args:
        model: A model with or without an adapter.
        head_learns: True if an adapter that is put on the output layer later must count.
    """
    decoder, first_head = model.get_decoder(), model.get_output_embeddings()
    vocabulary = model.config.get_text_config().vocab_size
    sharing = Sharing()

    def hidden(batch: Batch, chosen: Chosen) -> torch.Tensor:
        row = shared_row(batch, chosen) if sharing.on else None
        inputs = inputs_of(batch) if row is None else row.inputs
        states: torch.Tensor = decoder(**inputs).last_hidden_state  # (batch, length, width)
        return states[chosen] if row is None else states[0][row.place[chosen]]

    def short_way(states: torch.Tensor) -> torch.Tensor:
        # An adapter replaces the output layer in the model.
        head = model.get_output_embeddings() if head_learns else first_head
        logits: torch.Tensor = head(states)
        return logits

    def around(states: torch.Tensor) -> torch.Tensor:
        ids = torch.zeros((1, len(states)), dtype=torch.int64, device=states.device)
        with _answering(decoder, states[None]):
            logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits
        return logits[0]

    def whole_way(batch: Batch, chosen: Chosen) -> torch.Tensor:
        logits: torch.Tensor = model(**inputs_of(batch)).logits  # (batch, length, vocabulary)
        return logits[chosen]

    def learns() -> bool:
        # Shared weights are in the decoder, and in the output layer too.
        within = {id(one) for one in decoder.parameters()}
        behind = [one for one in model.parameters() if id(one) not in within]
        head = model.get_output_embeddings()
        return any(one.requires_grad for one in (*behind, *head.parameters()))

    ways: Sequence[Way] = ()
    if first_head is not None and decoder is not None and decoder is not model:
        ways = (hidden, short_way), (hidden, around)
    found = _first_right(model, whole_way, ways)
    if found is None:
        return LabelledLoss(hidden=whole_way, head=_same, head_learns=_never, vocabulary=vocabulary)
    return LabelledLoss(
        hidden=hidden, head=found[1], head_learns=learns, vocabulary=vocabulary, sharing=sharing
    )


def _same(logits: torch.Tensor) -> torch.Tensor:
    return logits


def _never() -> bool:
    return False


def _first_right(
    model: PreTrainedModel,
    whole_way: Hidden,
    ways: Sequence[Way],
) -> Way | None:
    """Return the first way to logits that gives the model's own, if one does."""
    training = model.training
    model.eval()
    found = None
    with torch.no_grad():
        ids = torch.arange(1, _PROBE + 1, device=model.device)[None]
        probe = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        everywhere = (torch.zeros_like(ids[0]), torch.arange(_PROBE, device=model.device))
        whole = whole_way(probe, everywhere)
        near = _SAME.get(whole.dtype, _SAME_ELSE)
        for hidden, head in ways:
            logits = head(hidden(probe, everywhere))
            if torch.allclose(logits.float(), whole.float(), rtol=near, atol=near):
                found = hidden, head
                break
    model.train(training)
    return found


@contextmanager
def _answering(decoder: torch.nn.Module, states: torch.Tensor) -> Iterator[None]:
    """Let a decoder return given hidden states instead of computing any.

    What a model does after its decoder then runs on these states: its output layer, scales, caps.
    """
    own = decoder.__dict__.get("forward")
    # The output with the most fields: whatever a model reads of its decoder's is there.
    answer = MoeModelOutputWithPast(last_hidden_state=states)
    decoder.forward = lambda *_, **__: answer
    try:
        yield
    finally:
        del decoder.forward
        if own is not None:
            decoder.forward = own


def computing(
    where: torch.device, dtype: torch.dtype, *, keeps: bool = True
) -> AbstractContextManager[None]:
    """Return the context that computes in a precision, whatever that of the weights is.

    Args:
        where: The device.
        dtype: The precision.
        keeps: False to cast weights again for each use: those that are gathered do not stay.
    """
    precision: AbstractContextManager[None] = torch.autocast(
        where.type, dtype=dtype, enabled=dtype != torch.float32, cache_enabled=keeps
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
