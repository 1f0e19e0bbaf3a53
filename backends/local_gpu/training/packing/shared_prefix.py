"""A beginning that all rows of a batch share, such as their system prompt, computed once.

The rows become one: the beginning, then what each row adds. Attention lets every row see the
beginning and itself, so losses and gradients are those of the padded batch, but for rounding. On a GPU,
torch's kernel for documents cannot read the same keys for several of them, so batches stay padded
there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from backends.local_gpu.training.packing.documents import STARTS, Documents, Group
from backends.local_gpu.training.tokenized_dataset import Tokens

_LEAST_SAVED: Final = 0.2
"""Least share of a batch's tokens that must be saved: one long row has its cost in attention."""
_SAMPLE: Final = 64
"""Examples of a training set that are looked at."""


@dataclass(slots=True)
class Sharing:
    """Whether a model computes shared beginnings once; off until that was checked."""

    on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRow:
    """A padded batch as one row."""

    inputs: Mapping[str, Any]
    """What a model reads."""
    place: torch.Tensor
    """Place in the row of every position of the padded batch: (batch, longest)."""


def shared_row(
    batch: Mapping[str, torch.Tensor], chosen: tuple[torch.Tensor, torch.Tensor]
) -> SharedRow | None:
    """Return a padded batch as one row; None if too little would be saved.

    Args:
        batch: A batch.
        chosen: Rows and columns of the positions that will be asked for. None of them may be in the
            beginning, where one position stands for several.
    """
    ids = batch["input_ids"]
    rows, columns = chosen
    if STARTS in batch or ids.is_cuda or len(rows) == 0:
        return None
    mask = batch["attention_mask"]
    lengths = mask.sum(dim=1)
    alike = int((ids == ids[0]).all(dim=0).long().cumprod(dim=0).sum())
    shared = min(alike, int(columns.min()), int(lengths.min()) - 1)
    if shared * (len(ids) - 1) < _LEAST_SAVED * int(lengths.sum()):
        return None
    own = mask.bool().clone()
    own[:, :shared] = False
    row, column = torch.nonzero(own, as_tuple=True)
    place = torch.arange(ids.shape[1]).expand(ids.shape).clone()
    place[row, column] = torch.arange(shared, shared + len(row))
    beginning = torch.arange(shared)
    # A padded position repeats the row's last token. Causal attention never looks at it.
    within = torch.minimum(torch.arange(ids.shape[1]), lengths[:, None] - 1)
    documents = Documents(
        starts=torch.empty(0, dtype=torch.int32),
        longest=ids.shape[1],
        groups=(Group(places=place.gather(1, within), longest=ids.shape[1]),),
        inverse=torch.cat([beginning, row * ids.shape[1] + column]),
    )
    inputs = {
        "input_ids": torch.cat([ids[0, :shared], ids[row, column]])[None],
        "position_ids": torch.cat([beginning, column])[None],
        "documents": documents,
        "use_cache": False,
    }
    return SharedRow(inputs=inputs, place=place)


def may_share(model: torch.nn.Module, tokens: Tokens, settings: Mapping[str, Any]) -> bool:
    """Return True if a training may compute shared beginnings once, and saves enough by it.

    Rows that drop values in training must not share what is dropped.

    Args:
        model: The model before its training.
        tokens: The training set.
        settings: Complete hyperparameters.
    """
    layers = (one for one in model.modules() if isinstance(one, torch.nn.Dropout))
    drops = any(one.p > 0 for one in layers) or bool(settings.get("lora_dropout"))
    of_attention: object = getattr(model.config, "attention_dropout", None)
    if drops or of_attention:
        return False
    size = settings.get("per_device_train_batch_size")
    if size is None:
        size = max(1, int(settings["max_tokens_per_batch"] // tokens.lengths.mean()))
    size = min(size, len(tokens))
    saved = _shared(tokens) * (size - 1) / size
    return bool(saved >= _LEAST_SAVED * tokens.lengths.mean())


def _shared(tokens: Tokens) -> int:
    """Return the tokens that some examples of a set begin with alike, before any learned one."""
    places = np.unique(np.linspace(0, len(tokens) - 1, _SAMPLE).astype(int))
    first = tokens[int(places[0])][0]
    shared = len(first)
    for ids, learned in (tokens[int(place)] for place in places):
        before_answer = int(np.argmax(learned)) - 1 if learned.any() else len(ids) - 1
        shared = max(0, min(shared, len(ids) - 1, before_answer))
        differing = np.flatnonzero(ids[:shared] != first[:shared])
        shared = int(differing[0]) if len(differing) else shared
    return shared
