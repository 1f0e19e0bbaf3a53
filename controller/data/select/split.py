"""The split of an example, by a hash. Pure.

The hash is of the question, or of the value that `group_by` names. Rows that are added, removed or
reordered move no other example, and two examples with the same question or group are never in
different splits.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import TypeAlias

Hash: TypeAlias = Callable[[bytes], int]
"""Function from bytes to a number below 2⁶⁴."""

MAX_STRATA = 10_000
"""Maximum number of values that can be labels."""

_BITS = 64


def seeded_hash(seed: int) -> Hash:
    """Return a hash that depends on a seed."""
    start = blake2b(f"{seed}\n".encode(), digest_size=_BITS // 8)

    def hash_of(data: bytes) -> int:
        state = start.copy()
        state.update(data)
        return int.from_bytes(state.digest(), "big")

    return hash_of


def hash_threshold(fraction: float) -> int:
    """Return the number below which a fraction of all hashes is."""
    return int(fraction * 2**_BITS)


def stratum_thresholds(hashes: Iterable[tuple[bytes, int]], fraction: float) -> Mapping[bytes, int]:
    """Return, for each stratum, the number below which its hashes are held out.

    At least one of two examples is held out, and never all. Memory is 8 bytes for each example.

    Raises:
        ValueError: There are too many strata for any of them to have enough examples.
    """
    of_stratum: dict[bytes, array[int]] = {}
    for stratum, number in hashes:
        of_stratum.setdefault(stratum, array("Q")).append(number)
        if len(of_stratum) > MAX_STRATA:
            raise ValueError(f"more than {MAX_STRATA:,} values")
    limits = {}
    for stratum, numbers in of_stratum.items():
        ordered = sorted(numbers)
        count = min(max(round(fraction * len(ordered)), 1), len(ordered) - 1)
        limits[stratum] = ordered[count]
    return limits
