"""Examples that are nearly the same: candidates by shared keys, confirmed one by one.

Measured against the index of the package that makes the keys, for 100,000 texts: it takes 155 MB
instead of 93, growing with the data, and offers three times as many candidates for texts that share
a template. Which candidates are offered decides recorded datasets, so the rules here are fixed.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from typing import Any

from controller.data.examples.compared_parts import rest_of, texts_of
from controller.data.examples.example import parse
from controller.data.extras import import_extra
from controller.data.storage.columns import NO_KEY
from controller.data.storage.example_store import ExampleStore
from controller.data.storage.external_grouping import GroupByKey

_KEY = 8
_OFFERED = 3
"""Number of examples of a key that its other examples are compared with."""
_LARGE = 100
"""Number of examples of a key above which only the first is offered: a template, or all near."""
_MAX_CANDIDATES = 8
"""Maximum number of an example's candidates by shingle keys; rare ones are replaced."""
_SHINGLE_KEYS = 128
"""Approximate number of shingle keys of an example."""


class NearDuplicates:
    """Finds near duplicates in a store."""

    def __init__(self, store: ExampleStore, similarity: float, recipe: int) -> None:
        """Load the packages that compare texts.

        Args:
            store: The examples, with band keys.
            similarity: Share of common character runs from which two texts are near duplicates.
            recipe: Version of what is compared in addition to texts.

        Raises:
            DataError: A package of the extra is missing.
        """
        self._minhash: Any = import_extra(
            "controller.data.select.minhash", extra="data", what="deduplicate: near"
        )
        self._store = store
        self._similarity = similarity
        self._recipe = recipe
        self._compared = lru_cache(maxsize=1_000)(self._read)

    def candidates(
        self, splits: bytearray, order: Sequence[int]
    ) -> Iterator[tuple[int, list[int]]]:
        """Yield examples, each with earlier examples that it may be nearly the same as.

        Args:
            splits: Split of every example.
            order: Splits to search. Examples of the first split are the earliest, whatever their
                numbers; an earlier example is never a duplicate of a later one.
        """

        def position(number: int) -> tuple[int, int]:
            return order.index(splits[number]), number

        found: dict[int, set[int]] = {}
        crowded: set[int] = set()
        for group in self._groups(self._band_keys(splits, order), self._store.examples * 8):
            for number, earlier in _offers(sorted(group, key=position)):
                found.setdefault(number, set()).update(earlier)
            if len(group) > _OFFERED:
                crowded.update(group)
        # A key that many share may be a template's: only shingle keys tell which texts are near.
        votes: dict[int, dict[int, int]] = {}
        for group in self._groups(self._shingle_keys(crowded), len(crowded) * _SHINGLE_KEYS):
            for number, earlier in _offers(sorted(group, key=position)):
                _vote(votes.setdefault(number, {}), earlier)
        for number, voted in votes.items():
            found.setdefault(number, set()).update(voted)
        for number in sorted(found, key=position):
            yield number, sorted(found[number])

    def is_duplicate(self, number: int, other: int) -> bool:
        """Return whether two examples really are nearly the same."""
        (text, rest), (other_text, other_rest) = self._compared(number), self._compared(other)
        return rest == other_rest and self._minhash.jaccard(text, other_text) >= self._similarity

    def _band_keys(self, splits: bytearray, order: Sequence[int]) -> Iterator[tuple[bytes, int]]:
        for block, keys in self._store.keys("bands", _KEY):
            bands = len(keys) // block.examples
            for place, key in enumerate(keys):
                number, band = divmod(place, bands)
                if key != NO_KEY and splits[block.first + number] in order:
                    yield key + bytes([band]), block.first + number

    def _shingle_keys(self, numbers: set[int]) -> Iterator[tuple[bytes, int]]:
        for number in sorted(numbers):
            for band, key in enumerate(self._minhash.shingle_keys(*self._read(number))):
                yield key + bytes([band]), number

    def _groups(self, keys: Iterator[tuple[bytes, int]], expected: int) -> Iterator[list[int]]:
        """Yield the numbers that share a key."""
        with closing(
            GroupByKey(self._store.folder, key_bytes=_KEY + 1, expected=expected)
        ) as grouped:
            for key, number in keys:
                grouped.add(key, number)
            yield from (group for group in grouped.groups() if len(group) > 1)

    def _read(self, number: int) -> tuple[str, bytes]:
        example = parse(self._store.json_line(number))
        return "\n".join(texts_of(example, self._recipe)), rest_of(example, self._recipe)


def _offers(group: list[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield each example of a group but the first, with the earlier ones that it may be near to."""
    offered = _OFFERED if len(group) <= _LARGE else 1
    for place, number in enumerate(group[1:], start=1):
        yield number, group[: min(place, offered)]


def _vote(votes: dict[int, int], candidates: list[int]) -> None:
    """Count frequent candidates in bounded memory: if all places are taken, each loses a vote."""
    for candidate in candidates:
        if candidate in votes or len(votes) < _MAX_CANDIDATES:
            votes[candidate] = votes.get(candidate, 0) + 1
            continue
        for other in list(votes):
            votes[other] -= 1
            if not votes[other]:
                del votes[other]
