"""Sizes of the tiles that logits are computed in; see `training.tiles`."""

from typing import Final

ELEMENTS: Final = {"cuda": 2**26}
"""Most logits of a tile, by the type of the device: a GPU needs more work at once than a CPU."""
ELEMENTS_ELSE: Final = 2**24
