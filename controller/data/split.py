"""On which side of the split an example is. Pure.

An example's prompt decides, by a hash: rows that are added, removed or reordered move no other
example, and two examples with the same question are never on different sides.

Another way to split (by group, by date, stratified) is another function that returns a `Side`.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TypeAlias

from controller.data.example import Message

Side: TypeAlias = Callable[[Sequence[Message], Sequence[str]], bool]
"""From messages and their canonical spellings to: is it held out?"""

_BITS = 64


def by_fraction(fraction: float, seed: int) -> Side:
    """Return the side of an example when a fraction of them is held out.

    Args:
        fraction: Share of the prompts to hold out.
        seed: Another number chooses others.
    """
    limit = int(fraction * 2**_BITS)
    seeded = blake2b(f"{seed}\n".encode(), digest_size=_BITS // 8)

    def is_held_out(messages: Sequence[Message], spelt: Sequence[str]) -> bool:
        state = seeded.copy()
        state.update(_prompt(messages, spelt).encode())
        return int.from_bytes(state.digest(), "big") < limit

    return is_held_out


def _prompt(messages: Sequence[Message], spelt: Sequence[str]) -> str:
    # Without the last answer, which is what is asked for; and without the system prompt, so that
    # another wording of it moves nothing.
    asked = [
        text
        for message, text in zip(messages[:-1], spelt, strict=False)
        if message["role"] not in ("system", "developer")
    ]
    # A conversation that only a system prompt opens has nothing else to go by.
    return ",".join(asked or spelt[:-1])
