"""On which side of the split an example is. Pure.

A hash decides: of the question, or of the value that `group_by` names. Rows that are added,
removed or reordered move no other example, and two examples with one question, or of one group,
are never on different sides.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import TypeAlias

from controller.data.example import Message

Hash: TypeAlias = Callable[[str], int]
"""From a text to a number below 2⁶⁴."""

_BITS = 64


def seeded_hash(seed: int) -> Hash:
    """Return a hash that another seed makes another one."""
    start = blake2b(f"{seed}\n".encode(), digest_size=_BITS // 8)

    def hash_of(text: str) -> int:
        state = start.copy()
        state.update(text.encode())
        return int.from_bytes(state.digest(), "big")

    return hash_of


def question(messages: Sequence[Message], spelt: Sequence[str], *, answered: bool = True) -> str:
    """Return what an example asks, spelt: what decides its side.

    Args:
        messages: The conversation.
        spelt: The canonical spelling of each message.
        answered: Whether the last message is the answer, which is left out.
    """
    end = -1 if answered else None
    # Without the system prompt, so that another wording of it moves nothing.
    asked = [
        text
        for message, text in zip(messages[:end], spelt, strict=False)
        if message["role"] not in ("system", "developer")
    ]
    # A conversation that only a system prompt opens has nothing else to go by.
    return ",".join(asked or spelt[:end])


def share(fraction: float) -> int:
    """Return the number below which this share of all hashes is."""
    return int(fraction * 2**_BITS)


def strata(hashes: Iterable[tuple[bytes, int]], fraction: float) -> Mapping[bytes, int]:
    """Return, for each stratum, the number below which its hashes are held out.

    Args:
        hashes: Stratum and hash of every example; 8 bytes are kept of each.
        fraction: Share of each stratum to hold out: at least one of two, never all.
    """
    of_stratum: dict[bytes, array[int]] = {}
    for stratum, number in hashes:
        of_stratum.setdefault(stratum, array("Q")).append(number)
    limits = {}
    for stratum, numbers in of_stratum.items():
        ordered = sorted(numbers)
        wanted = min(max(round(fraction * len(ordered)), 1), len(ordered) - 1)
        limits[stratum] = ordered[wanted]
    return limits
