"""Documents that share one row.

A packed row has no padding and no attention mask: every document's positions start at 0, and
`STARTS` tells where each begins.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

STARTS: Final = "starts"
"""Name of a packed batch's tensor with the start of each document, and the end of the last one. It
stays in the host's memory: the length of a document is needed there."""
_ALIKE: Final = 2
"""Documents are computed together if the longest is shorter than the shortest times this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Documents of similar length as rows of their own."""

    places: torch.Tensor
    """Position in the packed row, for every position of a padded row: (documents, longest)."""
    longest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The documents of one packed row, on the device of the model."""

    starts: torch.Tensor
    """Start of each document, and the end of the last one: (documents + 1,), int32."""
    longest: int
    """Tokens of the longest document."""
    groups: tuple[Group, ...]
    """The documents by length, for attention without a kernel for documents."""
    inverse: torch.Tensor
    """For every position of the packed row, its place in the groups' joined rows."""


def documents_of(starts: torch.Tensor, where: torch.device) -> Documents:
    """Return the documents of a packed row.

    Args:
        starts: The row's `STARTS`, in the host's memory.
        where: The device of the model.
    """
    offsets = starts.numpy().astype(np.int64)
    lengths = np.diff(offsets)
    order = np.argsort(-lengths, kind="stable")
    inverse = np.empty(offsets[-1], dtype=np.int64)
    groups, at, begin = [], 0, 0
    while begin < len(order):
        longest = int(lengths[order[begin]])
        # The order is by length, so this counts the documents that are long enough.
        end = int(np.searchsorted(-lengths[order], -longest / _ALIKE, side="right"))
        chosen = order[begin:end]
        columns = np.arange(longest)
        # A padded position repeats the document's last token. Causal attention never looks at it.
        within = np.minimum(columns, lengths[chosen][:, None] - 1)
        places = offsets[chosen][:, None] + within
        real = columns < lengths[chosen][:, None]
        slots = at + np.arange(places.size).reshape(places.shape)
        inverse[places[real]] = slots[real]
        groups.append(Group(places=_sent(places, where), longest=longest))
        at, begin = at + places.size, end
    return Documents(
        starts=_sent(offsets.astype(np.int32), where),
        longest=int(lengths.max()),
        groups=tuple(groups),
        inverse=_sent(inverse, where),
    )


def inputs_of(batch: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return what a model reads of a batch, packed or padded.

    A packed row has no attention mask, and the cache is off: with either of them, models take the
    row for a single document.
    """
    ids = batch["input_ids"]
    if STARTS not in batch:
        return {"input_ids": ids, "attention_mask": batch["attention_mask"], "use_cache": False}
    return {
        "input_ids": ids,
        "position_ids": batch["position_ids"],
        "documents": documents_of(batch[STARTS], ids.device),
        "use_cache": False,
    }


def sent(batch: Mapping[str, torch.Tensor], where: torch.device) -> dict[str, torch.Tensor]:
    """Return a batch on a device. The copy of pinned memory does not stop the host."""
    return {
        key: value if key == STARTS else value.to(where, non_blocking=value.is_pinned())
        for key, value in batch.items()
    }


def _sent(values: npt.NDArray[Any], where: torch.device) -> torch.Tensor:
    made = torch.from_numpy(values)
    if where.type != "cuda":
        return made.to(where)
    # From pinned memory, the copy does not stop the host.
    return made.pin_memory().to(where, non_blocking=True)
