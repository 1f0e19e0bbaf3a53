"""Select the examples that stay, and the split of each: all steps that need several examples.

In: the store. Out: a split for each example, one byte. Order: samples, duplicates, near duplicates,
strata, weights, leaks. Each dropped or noteworthy example is passed to `note`.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from controller.data.errors import DataError
from controller.data.recipes import NEWEST
from controller.data.report import Effect, StepName
from controller.data.select.near_duplicates import NearDuplicates
from controller.data.select.split import hash_threshold, seeded_hash, stratum_thresholds
from controller.data.sources.source_file import SourceFile
from controller.data.storage.columns import DIGEST, DROPPED, HELD_OUT, TRAIN, Column
from controller.data.storage.example_store import ExampleStore
from controller.spec.data import Data, Fraction

NoteOf: TypeAlias = Callable[[int, StepName, Effect, str], None]
"""Receives the number of an example, a step, its effect and the reason."""

_STRATUM = 8


def columns_for(data: Data) -> frozenset[Column]:
    """Return the columns that the selection needs, besides size and line."""
    columns: set[Column] = set()
    if data.prepare.max_tokens is not None:
        columns.add("tokens")
    if data.prepare.deduplicate == "near":
        columns.add("bands")
    if any(source.sample or source.weight != 1 for source in data.sources):
        columns.add("digest")
    if _may_leak(data):
        columns.add("question")
    if data.fraction is not None and data.fraction.stratify_by is not None:
        columns |= {"split_hash", "stratum"}
    return frozenset(columns)


def select_examples(
    store: ExampleStore,
    data: Data,
    files: Sequence[SourceFile],
    note: NoteOf,
    recipe: int = NEWEST,
) -> bytearray:
    """Return the split of every stored example: `TRAIN`, `HELD_OUT` or `DROPPED`."""
    splits = bytearray()
    for block in store.blocks:
        splits += bytes([block.split]) * block.examples
    selection = _Selection(store, data, files, splits, note, recipe)
    # Comes first: an example that was not drawn must not drop another one.
    selection.draw_samples()
    if data.prepare.deduplicate != "off":
        selection.drop_equal()
    if data.prepare.deduplicate == "near":
        selection.drop_near()
    if data.fraction is not None and data.fraction.stratify_by is not None:
        selection.split_strata(data.fraction)
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
    """Return True if a question can be in both splits; a fraction of questions prevents it."""
    fraction = data.fraction
    return fraction is None or bool(fraction.group_by or fraction.stratify_by)


class _Selection:
    def __init__(
        self,
        store: ExampleStore,
        data: Data,
        files: Sequence[SourceFile],
        splits: bytearray,
        note: NoteOf,
        recipe: int,
    ) -> None:
        self._store = store
        self._recipe = recipe
        self._data = data
        self._files = files
        self._fields = {file.field: file.source for file in files}
        self._splits = splits
        self._note = note

    def drop_equal(self) -> None:
        for number, first in self._store.digests.duplicates(self._splits):
            self._drop(number, "deduplicate", f"the same as {self._label(first, number)}")

    def drop_near(self) -> None:
        near = NearDuplicates(self._store, self._data.prepare.similarity, self._recipe)
        kept_of: dict[int, int] = {}
        for number, candidates in near.candidates(self._splits, (HELD_OUT, TRAIN)):
            for kept in sorted({kept_of.get(earlier, earlier) for earlier in candidates}):
                if kept != number and near.is_duplicate(number, kept):
                    kept_of[number] = kept
                    self._drop(number, "near", f"nearly the same as {self._label(kept, number)}")
                    break

    def draw_samples(self) -> None:
        for field, source in self._fields.items():
            sample = source.sample
            if sample is None:
                continue
            hash_of = seeded_hash(sample.seed)
            end: tuple[int, int] | None = None
            if sample.fraction is not None:
                end = hash_threshold(sample.fraction), 0
            elif sample.examples is not None:
                # Equal examples have equal hashes: their numbers decide between them.
                hashes = ((hash_of(digest), number) for number, digest in self._digests(field))
                drawn = heapq.nsmallest(sample.examples, hashes)
                end = (drawn[-1][0], drawn[-1][1] + 1) if drawn else None
            for number, digest in self._digests(field):
                if end is None or (hash_of(digest), number) >= end:
                    self._drop(number, "sample", "not drawn")

    def apply_weights(self) -> None:
        for field, source in self._fields.items():
            if source.weight < 1:
                for number, digest in self._digests(field):
                    if self._splits[number] == TRAIN and not repeat_count(digest, source.weight):
                        self._drop(number, "weight", f"left out by weight {source.weight}")

    def split_strata(self, fraction: Fraction) -> None:
        hashes = ((stratum, split_hash) for _, split_hash, stratum in self._strata())
        try:
            thresholds = stratum_thresholds(hashes, fraction.fraction)
        except ValueError as error:
            raise DataError(
                f"{fraction.stratify_by!r} has {error}",
                "Name a column with few values, such as a label, or remove the line.",
                field="held_out.stratify_by",
            ) from None
        for number, split_hash, stratum in self._strata():
            if split_hash < thresholds[stratum]:
                self._splits[number] = HELD_OUT

    def note_leaks(self) -> None:
        held_out = {question for _, question in self._questions(HELD_OUT)}
        for number, question in self._questions(TRAIN):
            if question in held_out:
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

    def _digests(self, field: str) -> Iterator[tuple[int, bytes]]:
        """Yield number and digest of the examples of a source that still stay."""
        is_of_source = [file.field == field for file in self._files]
        for block, digests in self._store.keys("digest", DIGEST):
            if is_of_source[block.source]:
                for number, digest in enumerate(digests, start=block.first):
                    if self._splits[number] != DROPPED:
                        yield number, digest

    def _strata(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield number, hash and stratum of the examples that still stay."""
        store = self._store
        columns = zip(store.numbers("split_hash"), store.keys("stratum", _STRATUM), strict=True)
        for (block, split_hashes), (_, strata) in columns:
            for number, (split_hash, stratum) in enumerate(
                zip(split_hashes, strata, strict=True), block.first
            ):
                if self._splits[number] != DROPPED:
                    yield number, split_hash, stratum

    def _label(self, kept: int, dropped: int) -> str:
        source, line = self._store.origin(kept)
        crosses = self._splits[kept] == HELD_OUT and self._splits[dropped] == TRAIN
        label = self._files[source].label.of_row(line)
        return f"the held-out {label}" if crosses else label
