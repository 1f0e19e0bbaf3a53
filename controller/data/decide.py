"""Which prepared examples stay, and on which side: all that needs to know other examples.

In: the spool. Out: a verdict for each example, one byte. Order: duplicates, near duplicates,
samples, weights, split, leaks. Whatever is dropped or worth knowing is handed to `note`.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import TypeAlias

from controller.data.alike import Alike
from controller.data.buckets import Buckets
from controller.data.recipe import DIGEST
from controller.data.report import Effect, PartName, StepName
from controller.data.split import seeded_hash, share, strata
from controller.data.spool import Record, Spool
from controller.spec.data import Data, Fraction, Source

TRAIN, HELD_OUT, DROPPED = 0, 1, 2

_SIDE = Struct(f"<20xQ{DIGEST}x")
_DIGEST = Struct(f"<28x{DIGEST}s")
"""Parts of a `RECORD`."""

NoteOf: TypeAlias = Callable[[int, StepName, Effect, str], None]
"""Takes the number of an example, and what happened to it in which step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One source, as far as it decides something."""

    part: PartName
    shown: str
    source: Source


def decide(spool: Spool, data: Data, sources: Sequence[Wanted], note: NoteOf) -> bytearray:
    """Return a verdict for every example of a spool: `TRAIN`, `HELD_OUT` or `DROPPED`.

    Raises:
        Unusable: A package of the extra is missing.
    """
    verdicts = bytearray(spool.examples)
    fraction = data.held_out if isinstance(data.held_out, Fraction) else None
    decision = _Decision(spool, data, sources, verdicts, note)
    if fraction is None or fraction.stratify_by is None:
        decision.part(fraction)
    if data.prepare.deduplicate != "off":
        decision.drop_equal()
    if data.prepare.deduplicate == "near":
        decision.drop_near()
    decision.draw_samples()
    decision.apply_weights()
    if fraction is not None and fraction.stratify_by is not None:
        decision.part_by_strata(fraction)
    if fraction is None or fraction.stratify_by or fraction.group_by:
        decision.note_leaks()
    return verdicts


def copies(record: Record, weight: float) -> int:
    """Return how often a source's weight puts an example into training."""
    whole = int(weight)
    # The digest's second half; the first decides nothing else, but samples are drawn by it too.
    chance = int.from_bytes(record.digest[8:], "big")
    return whole + (chance < share(weight - whole))


class _Decision:
    def __init__(
        self,
        spool: Spool,
        data: Data,
        sources: Sequence[Wanted],
        verdicts: bytearray,
        note: NoteOf,
    ) -> None:
        self._spool = spool
        self._data = data
        self._sources = sources
        self._verdicts = verdicts
        self._note = note

    def part(self, fraction: Fraction | None) -> None:
        if fraction is None:
            held_out = [wanted.part == "held_out" for wanted in self._sources]
            for stretch in self._spool.stretches:
                if held_out[stretch.source]:
                    end = stretch.first + stretch.examples
                    self._verdicts[stretch.first : end] = bytes([HELD_OUT]) * stretch.examples
            return
        limit = share(fraction.fraction)
        for number, (side,) in enumerate(self._spool.columns(_SIDE)):
            if side < limit:
                self._verdicts[number] = HELD_OUT

    def part_by_strata(self, fraction: Fraction) -> None:
        limits = strata(
            ((key, record.side) for _, record, key in self._kept_with_stratum()),
            fraction.fraction,
        )
        for number, record, key in self._kept_with_stratum():
            if record.side < limits[key]:
                self._verdicts[number] = HELD_OUT

    def drop_equal(self) -> None:
        verdicts = self._verdicts
        with Buckets(self._spool.folder, key_bytes=DIGEST, expected=self._spool.examples) as equal:
            # Where both lists of the spec have an example, training loses it: held-out goes first.
            for part in (HELD_OUT, TRAIN):
                for number, (digest,) in enumerate(self._spool.columns(_DIGEST)):
                    if verdicts[number] == part:
                        equal.add(digest, number)
            for number, first in equal.repeated():
                self._drop(number, "deduplicate", f"the same as {self._where(first, number)}")

    def drop_near(self) -> None:
        alike = Alike(self._spool, self._data.prepare.similarity)
        root: dict[int, int] = {}
        for number, candidates in alike.candidates(self._verdicts, (HELD_OUT, TRAIN)):
            for first in sorted({root.get(one, one) for one in candidates}):
                if first != number and alike.are(number, first):
                    root[number] = first
                    self._drop(number, "near", f"nearly the same as {self._where(first, number)}")
                    break

    def draw_samples(self) -> None:
        for index, wanted in enumerate(self._sources):
            sample = wanted.source.sample
            if sample is None:
                continue
            of_seed = seeded_hash(sample.seed)
            limit = 0
            if sample.fraction is not None:
                limit = share(sample.fraction)
            elif sample.examples is not None:
                hashes = (of_seed(record.digest) for _, record in self._kept_of(index))
                limit = max(heapq.nsmallest(sample.examples, hashes), default=0) + 1
            for number, record in self._kept_of(index):
                if of_seed(record.digest) >= limit:
                    self._drop(number, "sample", "not drawn")

    def apply_weights(self) -> None:
        for index, wanted in enumerate(self._sources):
            weight = wanted.source.weight
            if weight < 1:
                for number, record in self._kept_of(index):
                    if self._verdicts[number] == TRAIN and not copies(record, weight):
                        self._drop(number, "weight", f"left out by weight {weight}")

    def note_leaks(self) -> None:
        asked = {
            record.question
            for number, (_, record) in enumerate(self._spool.records())
            if self._verdicts[number] == HELD_OUT
        }
        for number, (_, record) in enumerate(self._spool.records()):
            if self._verdicts[number] == TRAIN and record.question in asked:
                reason = "a held-out example asks the same, with another answer"
                self._note(number, "leak", "noted", reason)

    def _drop(self, number: int, step: StepName, reason: str) -> None:
        self._verdicts[number] = DROPPED
        self._note(number, step, "dropped", reason)

    def _kept_of(self, source: int) -> Iterator[tuple[int, Record]]:
        for number, (of, record) in enumerate(self._spool.records()):
            if of == source and self._verdicts[number] != DROPPED:
                yield number, record

    def _kept_with_stratum(self) -> Iterator[tuple[int, Record, bytes]]:
        keyed = zip(self._spool.records(), self._spool.keys("strata", 1), strict=True)
        for number, ((_, record), (key,)) in enumerate(keyed):
            if self._verdicts[number] != DROPPED:
                yield number, record, key

    def _where(self, first: int, other: int) -> str:
        source, line = self._spool.place(first)
        held_out = self._verdicts[first] == HELD_OUT and self._verdicts[other] == TRAIN
        return f"{'the held-out ' if held_out else ''}{self._sources[source].shown}:{line}"
