"""Draws of the bootstrap: which units each round takes, and bounds from what the rounds gave. Pure."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

CHUNK_NUMBERS: Final = 400_000
"""Most numbers of one matrix of weights: 3 MB, which a processor's cache holds."""
_DIGITS: Final = 7
"""Significant digits that do not depend on the processor that added the numbers."""

Matrix: TypeAlias = npt.NDArray[np.float64]
Bounds: TypeAlias = tuple[float | None, ...]


def draws(units: int, rounds: int, seed: str, *, most: int = 0) -> Iterator[Matrix]:
    """Yield how often each round drew each unit, rounds x units, a chunk of rounds at a time."""
    digest = hashlib.sha256(seed.encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16])))
    chunk = max(1, min(rounds, CHUNK_NUMBERS // max(units, most)))
    starts = np.arange(chunk, dtype=np.int64)[:, None] * units
    for start in range(0, rounds, chunk):
        size = min(chunk, rounds - start)
        drawn = generator.integers(units, size=(size, units))
        drawn += starts[:size]
        counted = np.bincount(drawn.ravel(), minlength=size * units)
        yield counted.reshape(size, units).astype(np.float64)


def rank(probability: float, count: int) -> int:
    """Return the place of a quantile in a sorted list."""
    return min(count - 1, max(0, math.ceil(probability * (count + 1)) - 1))


def rounded(bounds: Iterable[float]) -> Bounds:
    """Return bounds with digits that every processor gives; None for those that are infinite."""
    return tuple(
        float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None for value in bounds
    )
