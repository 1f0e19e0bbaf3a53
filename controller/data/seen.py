"""Which examples were there before: a set of digests that takes 16 bytes for each, and no more.

Python's own set takes about 120. Only adding is needed, so a table with open addressing will do.
"""

from hashlib import blake2b

_DIGEST = 10
"""Bytes of digest: among ten million examples, two that are not equal seem so once in 10¹⁰ times."""

_PLACE = 6
_SLOT = _DIGEST + _PLACE
_FIRST_BITS = 12


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
        start = self._slot(digest)
        known = self._table[start + _DIGEST : start + _SLOT]
        if any(known):
            return int.from_bytes(known, "big")
        self._table[start : start + _SLOT] = digest + place.to_bytes(_PLACE, "big")
        self._count += 1
        # Above three quarters the searches become long.
        if self._count * 4 > 3 << self._bits:
            self._grow()
        return None

    def _slot(self, digest: bytes) -> int:
        """Return where a digest is in the table, or the free slot where it goes."""
        table, mask = self._table, (1 << self._bits) - 1
        slot = int.from_bytes(digest[:8], "big") & mask
        while True:
            start = slot * _SLOT
            found = table[start : start + _DIGEST]
            # A place is never 0, so that a slot of zeros is free whatever the digest.
            if found == digest or not any(table[start + _DIGEST : start + _SLOT]):
                return start
            slot = (slot + 1) & mask

    def _grow(self) -> None:
        old = self._table
        self._bits += 1
        self._table = bytearray(_SLOT << self._bits)
        for start in range(0, len(old), _SLOT):
            if any(old[start + _DIGEST : start + _SLOT]):
                digest = bytes(old[start : start + _DIGEST])
                new = self._slot(digest)
                self._table[new : new + _SLOT] = old[start : start + _SLOT]
