"""Which examples were there before: a table with 16 bytes for each, and free slots between them.

A million examples take 32 MiB; in Python's own set they would take 120. Only adding is needed, so
a table with open addressing will do.
"""

from hashlib import blake2b

_DIGEST = 10
"""Bytes of digest: among ten million examples, two that differ look equal once in 10¹⁰ times."""

_PLACE = 6
_SLOT = _DIGEST + _PLACE
_FREE = bytes(_PLACE)
"""A place is never 0, so that this marks a free slot whatever the digest."""

_FIRST_BITS = 12
_SMALL_BITS = 20
"""Up to this size (16 MiB) the table grows fourfold, which is faster; above, twofold."""


class Seen:
    """Remembers examples, and a number for each: the place where it was first."""

    def __init__(self) -> None:
        self._bits = _FIRST_BITS
        self._table = bytearray(_SLOT << self._bits)
        self._count = 0

    def add(self, line: bytes, place: int) -> int | None:
        """Remember a line unless it is known.

        Args:
            line: The example's canonical line.
            place: Where it is, from 1 to 2⁴⁸ - 1.

        Returns:
            The place where it was first; None when it is new.
        """
        digest = blake2b(line, digest_size=_DIGEST).digest()
        table, end = self._table, len(self._table)
        start = int.from_bytes(digest[:8], "big") * _SLOT % end
        while (known := table[start + _DIGEST : start + _SLOT]) != _FREE:
            if table[start : start + _DIGEST] == digest:
                return int.from_bytes(known, "big")
            start = (start + _SLOT) % end
        table[start : start + _SLOT] = digest + place.to_bytes(_PLACE, "big")
        self._count += 1
        # Above three quarters the searches become long.
        if self._count * 4 > 3 << self._bits:
            self._grow()
        return None

    def _grow(self) -> None:
        old = self._table
        self._bits += 2 if self._bits < _SMALL_BITS else 1
        end = _SLOT << self._bits
        table = self._table = bytearray(end)
        for at in range(0, len(old), _SLOT):
            slot = old[at : at + _SLOT]
            if slot[_DIGEST:] != _FREE:
                start = int.from_bytes(slot[:8], "big") * _SLOT % end
                while table[start + _DIGEST : start + _SLOT] != _FREE:
                    start = (start + _SLOT) % end
                table[start : start + _SLOT] = slot
