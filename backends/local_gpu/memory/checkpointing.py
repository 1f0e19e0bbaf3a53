"""Gradient checkpointing: which results of a layer stay in memory for backpropagation.

Imports no training package, so that a plan estimates by the rule that a training follows.
"""

from enum import StrEnum


class Checkpointing(StrEnum):
    """Kind of gradient checkpointing, by the results of a layer that it keeps in memory."""

    OFF = "off"
    """Everything that backpropagation needs."""
    SELECTIVE = "selective"
    """Its input, the results of its attention, and the matrix products that `keeps_product`."""
    ON = "on"
    """Its input."""

    @property
    def words(self) -> str:
        """Its name in a sentence; empty without checkpointing."""
        return {
            Checkpointing.OFF: "",
            Checkpointing.SELECTIVE: "selective gradient checkpointing",
            Checkpointing.ON: "gradient checkpointing",
        }[self]


def ways(wanted: str) -> tuple[Checkpointing, ...]:
    """Return the kinds of checkpointing that a setting allows, the fastest first."""
    return tuple(Checkpointing) if wanted == "auto" else (Checkpointing(wanted),)


def keeps_product(into: int, out: int) -> bool:
    """Return True if selective checkpointing keeps the result of a matrix product.

    A result that is no wider than what it was made from takes the least memory for the most work.
    About half of a layer's arithmetic makes such results: those of attention's layers, and of the
    feed-forward part's last one.

    Args:
        into: Width of the input.
        out: Width of the result.
    """
    return out <= into
