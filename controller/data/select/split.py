"""On which side of the split an example is. Pure.

A hash decides: of the question, or of the value that `group_by` names. Rows that are added,
removed or reordered move no other example, and two examples with one question, or of one group,
are never on different sides.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import TypeAlias

Hash: TypeAlias = Callable[[bytes], int]
"""From bytes to a number below 2⁶⁴."""

MOST_STRATA = 10_000
"""More values than this are no labels."""

_BITS = 64


def seeded_hash(seed: int) -> Hash:
    """Return a hash that another seed makes another one."""
    start = blake2b(f"{seed}\n".encode(), digest_size=_BITS // 8)

    def hash_of(data: bytes) -> int:
        state = start.copy()
        state.update(data)
        return int.from_bytes(state.digest(), "big")

    return hash_of


def hash_threshold(fraction: float) -> int:
    """Return the number below which this share of all hashes is."""
    return int(fraction * 2**_BITS)


def stratum_thresholds(hashes: Iterable[tuple[bytes, int]], fraction: float) -> Mapping[bytes, int]:
    """Return, for each stratum, the number below which its hashes are held out.

    Args:
        hashes: Stratum and hash of every example; 8 bytes are kept of each.
        fraction: Share of each stratum to hold out: at least one of two, never all.

    Raises:
        ValueError: There are too many strata for any of them to have enough examples.
    """
    of_stratum: dict[bytes, array[int]] = {}
    for stratum, number in hashes:
        of_stratum.setdefault(stratum, array("Q")).append(number)
        if len(of_stratum) > MOST_STRATA:
            raise ValueError(f"more than {MOST_STRATA:,} values")
    limits = {}
    for stratum, numbers in of_stratum.items():
        ordered = sorted(numbers)
        wanted = min(max(round(fraction * len(ordered)), 1), len(ordered) - 1)
        limits[stratum] = ordered[wanted]
    return limits
