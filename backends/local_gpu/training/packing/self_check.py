"""The check that a model keeps packed examples apart, made before it is trained on them.

Two examples are computed in rows of their own, then in one row. Their losses must agree. Then the
first example's tokens are exchanged, which must not change any loss of the second.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import numpy as np
import torch
from transformers import PreTrainedModel

from backends.contract.errors import BackendError
from backends.local_gpu.training.batching import collate, pack
from backends.local_gpu.training.loss import LabelledLoss
from backends.local_gpu.training.packing import attention
from backends.local_gpu.training.packing.documents import sent
from backends.local_gpu.training.tokenized_dataset import Tokens

_AGREE: Final = {torch.float32: 1e-4}
"""Largest difference of equal losses, as a part of them, by precision."""
_AGREE_ELSE: Final = 2e-2
_APART: Final = {torch.float32: 5e-5}
"""Largest change of a token's loss that rounding explains, in nats, by precision. The same shapes are
computed twice: only experts round differently when other tokens share them."""
_APART_ELSE: Final = 2e-2
_ROWS: Final = 8
"""Examples of the comparison of a batch whose beginning is shared."""
_CHOSEN: Final = "_attn_implementation"
"""Name of the attention in a model's settings."""
_REMEDY: Final = (
    "Remove `packing`. `max_tokens_per_batch` alone puts examples of similar length together."
)


def start_packing(
    model: PreTrainedModel,
    loss: LabelledLoss,
    tokens: Tokens,
    precision: Callable[[], AbstractContextManager[None]],
) -> None:
    """Let a model compute packed rows, and check that it does so correctly.

    Args:
        model: The model before its training.
        loss: Its loss.
        tokens: Its training set.
        precision: Returns the context in which training computes.

    Raises:
        BackendError: The model computes other losses for packed examples.
    """
    if not getattr(model, "_supports_attention_backend", False):
        raise _refused("its attention cannot be replaced")
    rows = _two(tokens)
    before = getattr(model.config, _CHOSEN)
    try:
        with _measuring(model, precision):
            _check(model, loss, rows, _precision(model))
    except (BackendError, attention.CannotPack) as error:
        model.set_attn_implementation(before)
        raise (error if isinstance(error, BackendError) else _refused(str(error))) from error


def start_sharing(
    model: PreTrainedModel,
    loss: LabelledLoss,
    tokens: Tokens,
    precision: Callable[[], AbstractContextManager[None]],
) -> None:
    """Let a model compute once what all rows of a batch begin with, and check that it does so correctly.

    Args:
        model: The model before its training.
        loss: Its loss.
        tokens: Its training set.
        precision: Returns the context in which training computes.

    Raises:
        BackendError: The model computes other losses then; its batches stay padded.
    """
    start_packing(model, loss, tokens, precision)
    order = np.argsort(tokens.lengths, kind="stable")
    # Of all lengths, so that there is padding too.
    batch = collate(tokens, [int(one) for one in order[:: max(1, len(order) // _ROWS)][:_ROWS]])
    agree = _AGREE.get(_precision(model), _AGREE_ELSE)
    try:
        with _measuring(model, precision):
            apart = _losses(model, loss, batch)
            loss.sharing.on = True
            together = _losses(model, loss, batch)
    finally:
        # Whatever goes wrong, nothing is computed this way that was not compared.
        loss.sharing.on = False
    if not torch.allclose(together, apart, rtol=agree, atol=agree):
        raise _refused(f"tokens differ by {float((together - apart).abs().max()):.2g} nats")
    loss.sharing.on = True


@contextmanager
def _measuring(
    model: PreTrainedModel, precision: Callable[[], AbstractContextManager[None]]
) -> Iterator[None]:
    """Let a model compute losses as in training, without learning."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), precision():
            yield
    finally:
        model.train(training)


def _check(model: PreTrainedModel, loss: LabelledLoss, rows: Tokens, dtype: torch.dtype) -> None:
    """Compute two rows alone, then together after the attention is replaced, and compare."""
    alone = [_losses(model, loss, collate(rows, [place])) for place in (0, 1)]
    # The name is known to transformers since `attention` was imported.
    model.set_attn_implementation(attention.NAME)
    together = _losses(model, loss, pack(rows, [0, 1]))
    other = _losses(model, loss, pack(_exchanged(rows), [0, 1]))
    separate, packed = float(torch.cat(alone).sum()), float(together.sum())
    if not abs(packed - separate) <= _AGREE.get(dtype, _AGREE_ELSE) * abs(separate):
        raise _refused(f"their loss is {packed:.6g} in one row and {separate:.6g} in two")
    second = len(alone[1])
    change = float((together[-second:] - other[-second:]).abs().max())
    if not change <= _APART.get(dtype, _APART_ELSE):
        raise _refused(
            f"another example before it changes the loss of an example, by {change:.2g} at a token"
        )


def attention_of(model: PreTrainedModel) -> str:
    """Return the name of the kernel that computes a model's attention."""
    name = str(getattr(model.config, _CHOSEN))
    if name != attention.NAME:
        return name
    return attention.VARLEN if attention.VARLEN in attention.USED else attention.SDPA


def _two(tokens: Tokens) -> Tokens:
    """Return the shortest and the longest example that have a label."""
    counts = tokens.labels_by_row
    usable = np.flatnonzero(counts > 0) if counts.any() else np.arange(len(counts))
    lengths = tokens.lengths[usable]
    return tokens.some([int(usable[lengths.argmin()]), int(usable[lengths.argmax()])])


def _exchanged(rows: Tokens) -> Tokens:
    """Return two examples with other tokens in the first."""
    length = int(rows.lengths[0])
    ids = rows.ids.copy()
    ids[:length] = np.where(ids[:length] == rows.ids[-1], rows.ids[0], rows.ids[-1])
    return Tokens(ids=ids, learned=rows.learned, offsets=rows.offsets)


def _losses(
    model: PreTrainedModel, loss: LabelledLoss, batch: dict[str, torch.Tensor]
) -> torch.Tensor:
    where = model.device
    return loss.per_token(sent(batch, where)).float().cpu()


def _precision(model: PreTrainedModel) -> torch.dtype:
    """Return the precision of the context that this is called in."""
    kind = model.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else model.dtype


def _refused(reason: str) -> BackendError:
    return BackendError(f"this model does not keep packed examples apart: {reason}", _REMEDY)
