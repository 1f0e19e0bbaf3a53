"""How many tokens each example of a dataset has: counted on all cores, once, and kept.

In: a part, and the encoder of its model. Out: a number for each example, in order. Memory is four
bytes for each; a second look reads nothing but these.
"""

import json
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backends.base import Encoder
from controller.canonical import digest
from controller.data.dataset import Part
from controller.data.kept import kept
from controller.data.view import blocks
from controller.data.workers import workers

_VERSION = 1
"""Raised whenever the file would hold something else."""

_COUNTED_AT_ONCE = 1_000
"""Examples that are parsed at once: enough for the encoder, and little memory."""


def token_lengths(part: Part, encoder: Encoder, cache: Path) -> "array[int]":
    """Return how many tokens each example is trained as.

    Args:
        part: The train or the held-out half.
        encoder: Of the model.
        cache: Where it is kept.

    Raises:
        BackendError: A package is missing, or the tokenizer cannot be read.
    """
    key = digest([_VERSION, part.digest, encoder.identity])
    lengths = array("I")
    lengths.frombytes(kept(cache / "lengths" / key, lambda: _counted(part, encoder)))
    return lengths


def _counted(part: Part, encoder: Encoder) -> bytes:
    with workers(part.path.stat().st_size) as run:
        return b"".join(run(_Count(encoder=encoder), blocks(part.path)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Count:
    """What a worker does with a stretch of lines."""

    encoder: Encoder

    def open(self) -> Callable[[bytes], bytes]:
        return self._count

    def _count(self, block: bytes) -> bytes:
        lines = block.splitlines()
        lengths = array("I")
        for start in range(0, len(lines), _COUNTED_AT_ONCE):
            some = [json.loads(line) for line in lines[start : start + _COUNTED_AT_ONCE]]
            lengths.extend(self.encoder.count(some))
        return lengths.tobytes()
