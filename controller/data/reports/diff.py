"""Differences between two datasets, in examples: added, removed and changed.

Both splits are compared together, so that an example that only changes its split is neither added
nor removed. Memory is a byte for each example: digests are spread over files, and one file at a
time is read.
"""

import tempfile
from bisect import insort
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from controller.data.cache import valid_manifest
from controller.data.dataset import Split, split_of
from controller.data.examples.conversation_view import question_of
from controller.data.examples.example import parse
from controller.data.pipeline.write_splits import SPLITS
from controller.data.reports.provenance import read_examples
from controller.data.storage.external_grouping import GroupByKey
from controller.spec.data import SplitName

LISTED = 20
"""Maximum number of listed examples of each kind."""

_DIGEST = 16
"""Bytes of a digest: two of ten million different lines have the same once in 10²⁴ times."""
_SAME, _OTHER, _CHANGED = 0, 1, 2
_OLD, _NEW = 0, 1


class DatasetSplits(NamedTuple):
    """Both splits of a dataset."""

    train: Split
    held_out: Split

    @property
    def digests(self) -> tuple[str, str]:
        """Digests that identify the dataset, whatever it was made from."""
        return self.train.digest, self.held_out.digest

    @property
    def examples(self) -> int:
        """Number of examples of both splits."""
        return self.train.examples + self.held_out.examples


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Differences of one split."""

    added: int = 0
    removed: int = 0
    changed: int = 0
    """Examples with the same question, and another answer or system prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Differences of two datasets."""

    train: Counts = Counts()
    held_out: Counts = Counts()
    moved: int = 0
    """Examples that changed their split."""

    @property
    def total(self) -> Counts:
        """Differences of both splits together."""
        return Counts(
            added=self.train.added + self.held_out.added,
            removed=self.train.removed + self.held_out.removed,
            changed=self.train.changed + self.held_out.changed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedExample:
    """One example that differs."""

    split: SplitName
    """Its split; for a removed example, its former split."""
    origin: str
    """`file:line`."""
    line: bytes
    """Its canonical line."""
    before: bytes | None = None
    """Former canonical line of a changed example."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffSamples:
    """The first examples of each kind, in the datasets' order."""

    added: tuple[ChangedExample, ...]
    removed: tuple[ChangedExample, ...]
    changed: tuple[ChangedExample, ...]


def earlier_datasets(cache: Path) -> dict[tuple[str, str], DatasetSplits]:
    """Return every complete dataset in the cache, by the digests of its splits."""
    found = {}
    for folder in (cache / "datasets").glob("[!.]*"):
        manifest = valid_manifest(folder)
        if manifest is None:
            continue
        try:
            splits = DatasetSplits(*(split_of(folder, manifest, name) for name in SPLITS))
        except (KeyError, TypeError):
            # A manifest of another release.
            continue
        found[splits.digests] = splits
    return found


def count_differences(old: DatasetSplits, new: DatasetSplits, scratch: Path) -> Difference:
    """Count the differences of two datasets."""
    return _Comparison(old, new).run(scratch)


def show_differences(
    old: DatasetSplits, new: DatasetSplits, scratch: Path
) -> tuple[Difference, DiffSamples]:
    """Count the differences of two datasets, and return the first examples that differ."""
    comparison = _Comparison(old, new)
    return comparison.run(scratch), comparison.samples()


class _Comparison:
    """Marks every example of both datasets; numbers continue from train to held-out."""

    def __init__(self, old: DatasetSplits, new: DatasetSplits) -> None:
        self._datasets = (old, new)
        self._marks = (bytearray(old.examples), bytearray(new.examples))
        # Number of examples that both splits begin with: mostly, rows are appended.
        self._equal = tuple(_common_start(*splits) for splits in zip(old, new, strict=True))
        self._moved = 0
        # The first changed examples: the new number, and the old.
        self._pairs: list[tuple[int, int]] = []

    def run(self, scratch: Path) -> Difference:
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch, prefix=".compare-") as folder:
            expected = sum(one.examples for one in self._datasets) - 2 * sum(self._equal)
            for old, new in self._groups(Path(folder), expected, lambda _, __, line: line):
                self._match_equal(old, new)
            if all(marks.count(_OTHER) for marks in self._marks):
                expected = sum(marks.count(_OTHER) for marks in self._marks)
                for old, new in self._groups(Path(folder), expected, self._question):
                    self._match_questions(old, new)
        train, held_out = (self._counts(split) for split in range(len(SPLITS)))
        return Difference(train=train, held_out=held_out, moved=self._moved)

    def samples(self) -> DiffSamples:
        added, removed = self._first(_NEW, _OTHER), self._first(_OLD, _OTHER)
        changed = dict(self._pairs)
        new = self._read(_NEW, {*added, *changed})
        old = self._read(_OLD, {*removed, *changed.values()})
        return DiffSamples(
            added=tuple(new[number] for number in added),
            removed=tuple(old[number] for number in removed),
            changed=tuple(
                replace(new[number], before=old[before].line) for number, before in changed.items()
            ),
        )

    def _groups(
        self, folder: Path, expected: int, key_of: Callable[[int, int, bytes], bytes | None]
    ) -> Iterator[tuple[list[int], list[int]]]:
        """Yield the old and the new examples that share a key."""
        with closing(GroupByKey(folder, key_bytes=_DIGEST, expected=expected)) as grouped:
            for version in (_OLD, _NEW):
                for number, line in self._lines(version):
                    key = key_of(version, number, line)
                    if key is not None:
                        digest = blake2b(key, digest_size=_DIGEST).digest()
                        grouped.add(digest, number << 1 | version)
            for group in grouped.groups():
                old = [number >> 1 for number in group if number & 1 == _OLD]
                yield old, [number >> 1 for number in group if number & 1 == _NEW]

    def _question(self, version: int, number: int, line: bytes) -> bytes | None:
        question = question_of(parse(line)) if self._marks[version][number] else None
        return None if question is None else question.encode()

    def _match_equal(self, old: list[int], new: list[int]) -> None:
        """Mark each example whose line is not in the other dataset; count moved examples."""
        if len(old) == len(new) == 1:
            self._moved += self._split(_OLD, old[0]) != self._split(_NEW, new[0])
            return
        common = min(len(old), len(new))
        stayed = sum(
            min(
                sum(self._split(_OLD, number) == split for number in old),
                sum(self._split(_NEW, number) == split for number in new),
            )
            for split in range(len(SPLITS))
        )
        self._moved += common - stayed
        for number in old[common:]:
            self._marks[_OLD][number] = _OTHER
        for number in new[common:]:
            self._marks[_NEW][number] = _OTHER

    def _match_questions(self, old: list[int], new: list[int]) -> None:
        """Mark examples as changed whose question is in both datasets."""
        for before, after in zip(old, new, strict=False):
            self._marks[_OLD][before] = self._marks[_NEW][after] = _CHANGED
            insort(self._pairs, (after, before))
            del self._pairs[LISTED:]

    def _lines(self, version: int) -> Iterator[tuple[int, bytes]]:
        """Yield number and line of every example after those that both splits begin with."""
        start = 0
        for split, equal in zip(self._datasets[version], self._equal, strict=True):
            if equal < split.examples:
                with split.path.open("rb") as file:
                    yield from enumerate(islice(file, equal, None), start + equal)
            start += split.examples

    def _split(self, version: int, number: int) -> int:
        return int(number >= self._datasets[version].train.examples)

    def _counts(self, split: int) -> Counts:
        def count(version: int, mark: int) -> int:
            train = self._datasets[version].train.examples
            return self._marks[version].count(mark, *((train,) if split else (0, train)))

        return Counts(
            added=count(_NEW, _OTHER), removed=count(_OLD, _OTHER), changed=count(_NEW, _CHANGED)
        )

    def _first(self, version: int, mark: int) -> list[int]:
        numbers: list[int] = []
        at = self._marks[version].find(mark)
        while at >= 0 and len(numbers) < LISTED:
            numbers.append(at)
            at = self._marks[version].find(mark, at + 1)
        return numbers

    def _read(self, version: int, numbers: set[int]) -> dict[int, ChangedExample]:
        found: dict[int, ChangedExample] = {}
        start = 0
        for name, split in zip(SPLITS, self._datasets[version], strict=True):
            here = [number - start for number in numbers if 0 <= number - start < split.examples]
            for at, example in read_examples(split, here):
                found[start + at] = ChangedExample(
                    split=name, origin=example.origin, line=example.line
                )
            start += split.examples
        return found


def _common_start(old: Split, new: Split) -> int:
    if old.digest == new.digest:
        return old.examples
    with old.path.open("rb") as before, new.path.open("rb") as after:
        differing = (
            number
            for number, pair in enumerate(zip(before, after, strict=False))
            if pair[0] != pair[1]
        )
        return next(differing, min(old.examples, new.examples))
