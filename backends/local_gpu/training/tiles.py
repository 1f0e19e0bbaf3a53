"""Losses of labelled tokens in tiles, so that the logits of all of them never exist at once.

An output layer treats each position alone. A tile is a number of positions whose logits have a
fixed size, whatever the vocabulary. Where the output layer is frozen, the gradient of each position
is computed with its loss, and nothing is computed twice. Where weights of the output layer learn,
backpropagation computes each tile again.

What fits one tile is computed in one piece, with the same operations as without tiles.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from backends.local_gpu.memory.tile_size import ELEMENTS, ELEMENTS_ELSE

Head: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""From hidden states (positions, width) to logits (positions, vocabulary)."""


def rows_of_tile(vocabulary: int, device: str) -> int:
    """Return the number of positions in a tile.

    Args:
        vocabulary: Number of logits of a position.
        device: Type of the device, such as `cuda`.
    """
    return max(1, ELEMENTS.get(device, ELEMENTS_ELSE) // vocabulary)


def token_losses(
    head: Head,
    hidden: torch.Tensor,
    targets: torch.Tensor,
    rows: int,
    head_learns: Callable[[], bool],
) -> torch.Tensor:
    """Return the negative log likelihood of each target, in nats: (positions,).

    Args:
        head: The output layer, and what follows it.
        hidden: Hidden states of the positions: (positions, width).
        targets: The token that each position is to predict: (positions,).
        rows: Positions of a tile.
        head_learns: Returns True if weights that `head` uses are trained.
    """
    if len(targets) <= rows:
        return _losses(head, hidden, targets)
    parts = zip(hidden.split(rows), targets.split(rows), strict=True)
    learns = torch.is_grad_enabled() and head_learns()
    if not learns and not (torch.is_grad_enabled() and hidden.requires_grad):
        return torch.cat([_losses(head, *part) for part in parts])
    if learns:
        tiles = [checkpoint(_losses, head, *part, use_reentrant=False) for part in parts]
        return torch.cat(tiles)
    return _with_gradients(head, hidden, targets, rows)


def _losses(head: Head, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(head(hidden).float(), targets, reduction="none")


def _with_gradients(
    head: Head, hidden: torch.Tensor, targets: torch.Tensor, rows: int
) -> torch.Tensor:
    """Compute losses with their gradients: a position's loss depends on this position alone."""
    gradient, losses = torch.empty_like(hidden), []
    for start in range(0, len(targets), rows):
        here = slice(start, start + rows)
        tile = hidden[here].detach().requires_grad_()
        found = _losses(head, tile, targets[here])
        (gradient[here],) = torch.autograd.grad(found.sum(), tile)
        losses.append(found.detach())
    # The last factor adds nothing to the losses; backpropagation finds the gradients in it.
    return torch.cat(losses) + ((hidden - hidden.detach()) * gradient).sum(dim=-1)
