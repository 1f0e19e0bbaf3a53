"""Losses of labelled tokens in tiles, so that the logits of all of them never exist at once.

An output layer treats each position alone. A tile is a number of positions whose logits have a
fixed size, whatever the vocabulary. Where the output layer is frozen, the gradient of each position
is computed with its loss, and nothing is computed twice. Where weights of the output layer learn,
backpropagation computes each tile again.

What fits one tile is computed in one piece, with the same operations as without tiles.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

Head: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""From hidden states (positions, width) to logits (positions, vocabulary)."""

ELEMENTS: Final = {"cuda": 2**26}
"""Most logits of a tile, by the type of the device: a GPU needs more work at once than a CPU."""
ELEMENTS_ELSE: Final = 2**24


def rows_of_tile(vocabulary: int, device: str) -> int:
    """Return the number of positions in a tile.

    Args:
        vocabulary: Number of logits of a position.
        device: Type of the device, such as `cuda`.
    """
    return max(1, ELEMENTS.get(device, ELEMENTS_ELSE) // vocabulary)


def token_losses(
    head: Head, hidden: torch.Tensor, targets: torch.Tensor, rows: int, *, head_learns: bool
) -> torch.Tensor:
    """Return the negative log likelihood of each target, in nats: (positions,).

    Args:
        head: The output layer, and what follows it.
        hidden: Hidden states of the positions: (positions, width).
        targets: The token that each position is to predict: (positions,).
        rows: Positions of a tile.
        head_learns: True if weights that `head` uses are trained.
    """
    if len(targets) <= rows:
        return _losses(head, hidden, targets)
    parts = zip(hidden.split(rows), targets.split(rows), strict=True)
    if not (torch.is_grad_enabled() and (hidden.requires_grad or head_learns)):
        return torch.cat([_losses(head, *part) for part in parts])
    if head_learns:
        tiles = [checkpoint(_losses, head, *part, use_reentrant=False) for part in parts]
        return torch.cat(tiles)
    losses: torch.Tensor = _FrozenHead.apply(head, hidden, targets, rows)
    return losses


def _losses(head: Head, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(head(hidden).float(), targets, reduction="none")


class _FrozenHead(torch.autograd.Function):  # type: ignore[misc]
    """Losses whose gradients are computed at once: a position's loss depends on itself alone."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context has no type
        head: Head,
        hidden: torch.Tensor,
        targets: torch.Tensor,
        rows: int,
    ) -> torch.Tensor:
        """Compute the losses, and keep each position's gradient in place of its logits."""
        gradient = torch.empty_like(hidden)
        losses = []
        for start in range(0, len(targets), rows):
            here = slice(start, start + rows)
            with torch.enable_grad():
                tile = hidden[here].detach().requires_grad_()
                found = _losses(head, tile, targets[here])
                (gradient[here],) = torch.autograd.grad(found.sum(), tile)
            losses.append(found.detach())
            del found
        ctx.save_for_backward(gradient)
        return torch.cat(losses)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 - torch's context has no type
        upstream: torch.Tensor,
    ) -> tuple[None, torch.Tensor, None, None]:
        """Scale each position's gradient by that of its loss."""
        (gradient,) = ctx.saved_tensors
        return None, gradient * upstream[:, None].to(gradient.dtype), None, None
