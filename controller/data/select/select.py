"""Which prepared examples stay, and on which side: all that needs to know other examples.

In: the spool. Out: a verdict for each example, one byte. Order: samples, duplicates, near
duplicates, strata, weights, leaks. Whatever is dropped or worth knowing is handed to `note`.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from controller.data.errors import DataError
from controller.data.recipes import NEWEST
from controller.data.report import Effect, SplitName, StepName
from controller.data.select.near_duplicates import NearDuplicates
from controller.data.select.split import hash_threshold, seeded_hash, stratum_thresholds
from controller.data.sources.source_file import SourceLabel
from controller.data.storage.columns import DIGEST, DROPPED, HELD_OUT, TRAIN, Column
from controller.data.storage.example_store import ExampleStore
from controller.spec.data import Data, Fraction, Source

NoteOf: TypeAlias = Callable[[int, StepName, Effect, str], None]
"""Takes the number of an example, and what happened to it in which step."""

_KEY = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSelection:
    """One file of a source, as far as it decides something."""

    part: SplitName
    field: str
    """Where its source stands in the spec; a source may have several files."""
    label: SourceLabel
    source: Source


def columns_for(data: Data) -> frozenset[Column]:
    """Return the columns that deciding needs, besides size and line."""
    sources = data.train if isinstance(data.held_out, Fraction) else [*data.train, *data.held_out]
    wanted: set[Column] = set()
    if data.prepare.max_tokens is not None:
        wanted.add("tokens")
    if data.prepare.deduplicate == "near":
        wanted.add("bands")
    if any(source.sample or source.weight != 1 for source in sources):
        wanted.add("digest")
    if _may_leak(data):
        wanted.add("question")
    if isinstance(data.held_out, Fraction) and data.held_out.stratify_by is not None:
        wanted |= {"side", "stratum"}
    return frozenset(wanted)


def select_examples(
    store: ExampleStore,
    data: Data,
    sources: Sequence[SourceSelection],
    note: NoteOf,
    recipe: int = NEWEST,
) -> bytearray:
    """Return a verdict for every example of a spool: `TRAIN`, `HELD_OUT` or `DROPPED`.

    Args:
        store: The examples.
        data: The spec's section.
        sources: Its files, in order.
        note: Receives what happens to each example.
        recipe: Version of what near duplicates compare.

    Raises:
        DataError: A package of the extra is missing.
    """
    splits = bytearray()
    for block in store.blocks:
        splits += bytes([block.split]) * block.examples
    selection = _Selection(store, data, sources, splits, note, recipe)
    # First of all: an example that was not drawn is no reason to drop another one.
    selection.draw_samples()
    if data.prepare.deduplicate != "off":
        selection.drop_equal()
    if data.prepare.deduplicate == "near":
        selection.drop_near()
    if isinstance(data.held_out, Fraction) and data.held_out.stratify_by is not None:
        selection.part_by_strata(data.held_out)
    selection.apply_weights()
    if _may_leak(data):
        selection.note_leaks()
    return splits


def repeat_count(digest: bytes, weight: float) -> int:
    """Return how often a source's weight puts an example into training."""
    whole = int(weight)
    # The digest's second half: samples are drawn by another hash of all of it.
    chance = int.from_bytes(digest[8:], "big")
    return whole + (chance < hash_threshold(weight - whole))


def _may_leak(data: Data) -> bool:
    """Say whether one question can be on both sides; by a fraction of questions it cannot."""
    if isinstance(data.held_out, Fraction):
        return bool(data.held_out.group_by or data.held_out.stratify_by)
    return True


class _Selection:
    def __init__(
        self,
        store: ExampleStore,
        data: Data,
        sources: Sequence[SourceSelection],
        splits: bytearray,
        note: NoteOf,
        recipe: int,
    ) -> None:
        self._store = store
        self._recipe = recipe
        self._data = data
        self._sources = sources
        self._splits = splits
        self._note = note

    def drop_equal(self) -> None:
        for number, first in self._store.equal.duplicates(self._splits):
            self._drop(number, "deduplicate", f"the same as {self._where(first, number)}")

    def drop_near(self) -> None:
        alike = NearDuplicates(self._store, self._data.prepare.similarity, self._recipe)
        root: dict[int, int] = {}
        for number, candidates in alike.candidates(self._splits, (HELD_OUT, TRAIN)):
            for first in sorted({root.get(one, one) for one in candidates}):
                if first != number and alike.are(number, first):
                    root[number] = first
                    self._drop(number, "near", f"nearly the same as {self._where(first, number)}")
                    break

    def draw_samples(self) -> None:
        for field, source in {one.field: one.source for one in self._sources}.items():
            sample = source.sample
            if sample is None:
                continue
            of_seed = seeded_hash(sample.seed)
            drawn: tuple[int, int] | None = None
            if sample.fraction is not None:
                drawn = hash_threshold(sample.fraction), 0
            elif sample.examples is not None:
                # Equal examples have equal hashes: their numbers decide between them.
                hashes = ((of_seed(one), number) for number, one in self._kept_of(field))
                chosen = heapq.nsmallest(sample.examples, hashes)
                drawn = (chosen[-1][0], chosen[-1][1] + 1) if chosen else None
            for number, digest in self._kept_of(field):
                if drawn is None or (of_seed(digest), number) >= drawn:
                    self._drop(number, "sample", "not drawn")

    def apply_weights(self) -> None:
        for field, source in {one.field: one.source for one in self._sources}.items():
            if source.weight < 1:
                for number, digest in self._kept_of(field):
                    if self._splits[number] == TRAIN and not repeat_count(digest, source.weight):
                        self._drop(number, "weight", f"left out by weight {source.weight}")

    def part_by_strata(self, fraction: Fraction) -> None:
        hashes = ((key, side) for _, side, key in self._with_strata())
        try:
            limits = stratum_thresholds(hashes, fraction.fraction)
        except ValueError as error:
            raise DataError(
                f"{fraction.stratify_by!r} has {error}",
                "Name a column with few values, such as a label, or remove the line.",
                field="held_out.stratify_by",
            ) from None
        for number, side, key in self._with_strata():
            if side < limits[key]:
                self._splits[number] = HELD_OUT

    def note_leaks(self) -> None:
        asked = {question for _, question in self._questions(HELD_OUT)}
        for number, question in self._questions(TRAIN):
            if question in asked:
                reason = "a held-out example asks the same, with another answer"
                self._note(number, "leak", "noted", reason)

    def _drop(self, number: int, step: StepName, reason: str) -> None:
        self._splits[number] = DROPPED
        self._note(number, step, "dropped", reason)

    def _questions(self, split: int) -> Iterator[tuple[int, int]]:
        for block, questions in self._store.numbers("question"):
            for number, question in enumerate(questions, start=block.first):
                if self._splits[number] == split:
                    yield number, question

    def _kept_of(self, field: str) -> Iterator[tuple[int, bytes]]:
        of_source = [one.field == field for one in self._sources]
        for block, digests in self._store.keys("digest", DIGEST):
            if of_source[block.source]:
                for number, digest in enumerate(digests, start=block.first):
                    if self._splits[number] != DROPPED:
                        yield number, digest

    def _with_strata(self) -> Iterator[tuple[int, int, bytes]]:
        columns = zip(self._store.numbers("side"), self._store.keys("stratum", _KEY), strict=True)
        for (block, sides), (_, keys) in columns:
            for number, (side, key) in enumerate(zip(sides, keys, strict=True), block.first):
                if self._splits[number] != DROPPED:
                    yield number, side, key

    def _where(self, first: int, other: int) -> str:
        source, line = self._store.place(first)
        held_out = self._splits[first] == HELD_OUT and self._splits[other] == TRAIN
        place = self._sources[source].label.of_row(line)
        return f"the held-out {place}" if held_out else place
