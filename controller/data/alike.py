"""Examples that are nearly the same: candidates by MinHash bands, confirmed one by one."""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from controller.data.buckets import Buckets
from controller.data.example import Example, texts_of
from controller.data.optional import load
from controller.data.page import NO_KEY
from controller.data.spool import Spool

_BAND_KEY = 8


class Alike:
    """Finds near duplicates in a spool."""

    def __init__(self, spool: Spool, similarity: float) -> None:
        """Load what compares texts.

        Args:
            spool: The examples, with band keys.
            similarity: Share of common runs of characters from which two are nearly the same.

        Raises:
            Unusable: A package of the extra is missing.
        """
        self._near: Any = load("controller.data.near", extra="data", what="deduplicate: near")
        self._spool = spool
        self._similarity = similarity
        self._said = lru_cache(maxsize=1_000)(self._read)

    def candidates(
        self, verdicts: bytearray, order: Sequence[int]
    ) -> Iterator[tuple[int, list[int]]]:
        """Yield examples that may be nearly the same as earlier ones, with those.

        Args:
            verdicts: Of every example.
            order: Verdicts to look at. Those of the first come first, whatever their number, and
                an earlier example is never a copy of a later one.
        """
        found: dict[int, set[int]] = {}
        every = self._spool.examples * 8
        with Buckets(self._spool.folder, key_bytes=_BAND_KEY + 1, expected=every) as equal:
            for verdict in order:
                for stretch, keys in self._spool.keys("bands", _BAND_KEY):
                    bands = len(keys) // stretch.examples
                    for place, key in enumerate(keys):
                        number, band = divmod(place, bands)
                        if key != NO_KEY and verdicts[stretch.first + number] == verdict:
                            equal.add(key + bytes([band]), stretch.first + number)
            for number, first in equal.repeated():
                found.setdefault(number, set()).add(first)
        for number in sorted(found, key=lambda one: (order.index(verdicts[one]), one)):
            yield number, sorted(found[number])

    def are(self, one: int, other: int) -> bool:
        """Say whether two examples really are nearly the same."""
        similarity: float = self._near.jaccard(self._said(one), self._said(other))
        return similarity >= self._similarity

    def _read(self, number: int) -> str:
        value = json.loads(self._spool.text(number))
        if "text" in value:
            return str(value["text"])
        asked = value.get("input", value)["messages"]
        answers = [*value.get("preferred_output", ()), *value.get("non_preferred_output", ())]
        return "\n".join(texts_of(Example([*asked, *answers])))
