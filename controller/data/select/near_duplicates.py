"""Examples that are nearly the same: candidates by MinHash bands, confirmed one by one."""

from collections.abc import Iterator, Sequence
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
"""Examples of one key that others are compared with."""
_LARGE = 100
"""Examples of one key among which the first speaks for all: it is a template's, or all are near."""
_PLACES = 8
"""Candidates of an example by its finer keys; who shares but a word with it is soon none."""
_FINE = 128
"""Finer keys of an example, about."""


class NearDuplicates:
    """Finds near duplicates in a spool."""

    def __init__(self, store: ExampleStore, similarity: float, recipe: int) -> None:
        """Load the packages that compare texts.

        Args:
            store: The examples, with band keys.
            similarity: Share of common character runs from which two texts are near duplicates.
            recipe: Version of what is compared in addition to texts.

        Raises:
            DataError: A package of the extra is missing.
        """
        self._near: Any = import_extra(
            "controller.data.select.minhash", extra="data", what="deduplicate: near"
        )
        self._store = store
        self._similarity = similarity
        self._recipe = recipe
        self._said = lru_cache(maxsize=1_000)(self._read)

    def candidates(
        self, splits: bytearray, order: Sequence[int]
    ) -> Iterator[tuple[int, list[int]]]:
        """Yield examples that may be nearly the same as earlier ones, with those.

        Args:
            splits: Of every example.
            order: Verdicts to look at. Those of the first come first, whatever their number, and
                an earlier example is never a copy of a later one.
        """

        def placed(number: int) -> tuple[int, int]:
            return order.index(splits[number]), number

        found: dict[int, set[int]] = {}
        crowded: set[int] = set()
        for group in self._groups(self._band_keys(splits, order), self._store.examples * 8):
            for number, earlier in _offers(sorted(group, key=placed)):
                found.setdefault(number, set()).update(earlier)
            if len(group) > _OFFERED:
                crowded.update(group)
        # What many share may be a template: which of them are near, only finer keys tell.
        votes: dict[int, dict[int, int]] = {}
        for group in self._groups(self._fine_keys(crowded), len(crowded) * _FINE):
            for number, earlier in _offers(sorted(group, key=placed)):
                _vote(votes.setdefault(number, {}), earlier)
        for number, voted in votes.items():
            found.setdefault(number, set()).update(voted)
        for number in sorted(found, key=placed):
            yield number, sorted(found[number])

    def are(self, one: int, other: int) -> bool:
        """Say whether two examples really are nearly the same."""
        (said, rest), (other_said, other_rest) = self._said(one), self._said(other)
        return rest == other_rest and self._near.jaccard(said, other_said) >= self._similarity

    def _band_keys(self, splits: bytearray, order: Sequence[int]) -> Iterator[tuple[bytes, int]]:
        for block, keys in self._store.keys("bands", _KEY):
            bands = len(keys) // block.examples
            for place, key in enumerate(keys):
                number, band = divmod(place, bands)
                if key != NO_KEY and splits[block.first + number] in order:
                    yield key + bytes([band]), block.first + number

    def _fine_keys(self, numbers: set[int]) -> Iterator[tuple[bytes, int]]:
        for number in sorted(numbers):
            for band, key in enumerate(self._near.fine_keys(*self._read(number))):
                yield key + bytes([band]), number

    def _groups(self, keys: Iterator[tuple[bytes, int]], expected: int) -> Iterator[list[int]]:
        """Yield the numbers that share a key."""
        with GroupByKey(self._store.folder, key_bytes=_KEY + 1, expected=expected) as buckets:
            for key, number in keys:
                buckets.add(key, number)
            yield from (group for group in buckets.groups() if len(group) > 1)

    def _read(self, number: int) -> tuple[str, bytes]:
        example = parse(self._store.text(number))
        return "\n".join(texts_of(example, self._recipe)), rest_of(example, self._recipe)


def _offers(group: list[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield each of a group but the first, with the earlier ones that it may be near to."""
    offered = _OFFERED if len(group) <= _LARGE else 1
    for place, number in enumerate(group[1:], start=1):
        yield number, group[: min(place, offered)]


def _vote(votes: dict[int, int], candidates: list[int]) -> None:
    """Count what comes often, in little memory: when all places are taken, each loses a vote."""
    for one in candidates:
        if one in votes or len(votes) < _PLACES:
            votes[one] = votes.get(one, 0) + 1
            continue
        for other in list(votes):
            votes[other] -= 1
            if not votes[other]:
                del votes[other]
