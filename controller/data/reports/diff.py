"""How two datasets differ, in examples: added, removed, and answered otherwise.

In: the halves of both. Out: counts, and which examples they are. Both halves are compared
together, so that an example which only changes sides is neither added nor removed. Memory is a
byte for each example: digests lie on the disk, parted, and one part at a time is looked through.
"""

import tempfile
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from controller.data.cache import Manifest, valid_manifest
from controller.data.dataset import Split
from controller.data.examples.conversation_view import view_example
from controller.data.pipeline.write_splits import NAMES
from controller.data.report import SplitName
from controller.data.reports.provenance import read_examples
from controller.data.storage.external_grouping import GroupByKey

FIRST = 20
"""Examples of each kind that are shown."""

_DIGEST = 16
"""Bytes of digest: among ten million lines, two that differ look equal once in 10²⁴."""
_SAME, _OTHER, _CHANGED = 0, 1, 2
_OLD, _NEW = 0, 1


class DatasetSplits(NamedTuple):
    """Both parts of a dataset."""

    train: Split
    held_out: Split

    @property
    def digests(self) -> tuple[str, str]:
        """What tells it from others, whatever it was made from."""
        return self.train.digest, self.held_out.digest

    @property
    def examples(self) -> int:
        """How many there are on both sides."""
        return self.train.examples + self.held_out.examples


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How one part differs."""

    added: int = 0
    removed: int = 0
    changed: int = 0
    """The same question with another answer, or another system prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How two datasets differ."""

    train: Counts = Counts()
    held_out: Counts = Counts()
    moved: int = 0
    """Examples that are on the other side of the split now."""

    @property
    def added(self) -> int:
        """On both sides together."""
        return self.train.added + self.held_out.added

    @property
    def removed(self) -> int:
        """On both sides together."""
        return self.train.removed + self.held_out.removed

    @property
    def changed(self) -> int:
        """On both sides together."""
        return self.train.changed + self.held_out.changed


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedExample:
    """One example that differs."""

    part: SplitName
    """Where it is now, or was."""
    origin: str
    """`file:line`."""
    line: bytes
    """Its canonical line."""
    before: bytes | None = None
    """Of a changed one: the line that it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffSamples:
    """The first examples of each kind, in the datasets' order."""

    added: tuple[ChangedExample, ...]
    removed: tuple[ChangedExample, ...]
    changed: tuple[ChangedExample, ...]


def earlier_datasets(cache: Path) -> dict[tuple[str, str], DatasetSplits]:
    """Return every dataset that is here whole, by the digests of its halves."""
    found = {}
    for folder in (cache / "datasets").glob("[!.]*"):
        manifest = valid_manifest(folder)
        if manifest is None:
            continue
        try:
            halves = _halves(folder, manifest)
        except (KeyError, TypeError):
            # A manifest of another release.
            continue
        found[halves.digests] = halves
    return found


def count_differences(old: DatasetSplits, new: DatasetSplits, scratch: Path) -> Difference:
    """Count how two datasets differ.

    Args:
        old: The earlier one.
        new: The one now.
        scratch: Folder that temporary files may be written to; created when absent.
    """
    return _Comparison(old, new).run(scratch)


def show_differences(
    old: DatasetSplits, new: DatasetSplits, scratch: Path
) -> tuple[Difference, DiffSamples]:
    """Count how two datasets differ, and return the first examples that do.

    Args:
        old: The earlier one.
        new: The one now.
        scratch: Folder that temporary files may be written to; created when absent.
    """
    comparison = _Comparison(old, new)
    return comparison.run(scratch), comparison.shown()


class _Comparison:
    """Marks every example of both datasets; its number counts through train and held-out."""

    def __init__(self, old: DatasetSplits, new: DatasetSplits) -> None:
        self._sides = (old, new)
        self._marks = (bytearray(old.examples), bytearray(new.examples))
        # How many examples both begin with, in each half: mostly, rows are appended.
        self._equal = tuple(_common_start(*halves) for halves in zip(old, new, strict=True))
        self._moved = 0
        # The first changed examples: the new number, and the old.
        self._pairs: list[tuple[int, int]] = []

    def run(self, scratch: Path) -> Difference:
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch, prefix=".compare-") as folder:
            self._match_lines(Path(folder))
            self._match_questions(Path(folder))
        train, held_out = (self._counts(part) for part in range(len(NAMES)))
        return Difference(train=train, held_out=held_out, moved=self._moved)

    def shown(self) -> DiffSamples:
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

    def _match_lines(self, folder: Path) -> None:
        """Mark every example whose very line is not on the other side."""
        expected = sum(halves.examples for halves in self._sides) - 2 * sum(self._equal)
        with GroupByKey(folder, key_bytes=_DIGEST, expected=expected) as buckets:
            for side in (_OLD, _NEW):
                for number, line in self._lines(side):
                    key = blake2b(line, digest_size=_DIGEST).digest()
                    buckets.add(key, number << 1 | side)
            for group in buckets.groups():
                self._match_equal(group)

    def _match_equal(self, group: list[int]) -> None:
        old = [number >> 1 for number in group if number & 1 == _OLD]
        new = [number >> 1 for number in group if number & 1 == _NEW]
        if len(old) == len(new) == 1:
            self._moved += self._part(_OLD, old[0]) != self._part(_NEW, new[0])
            return
        common = min(len(old), len(new))
        stayed = sum(
            min(
                sum(self._part(_OLD, number) == part for number in old),
                sum(self._part(_NEW, number) == part for number in new),
            )
            for part in range(len(NAMES))
        )
        self._moved += common - stayed
        for number in old[common:]:
            self._marks[_OLD][number] = _OTHER
        for number in new[common:]:
            self._marks[_NEW][number] = _OTHER

    def _match_questions(self, folder: Path) -> None:
        """Mark as changed what was asked before too."""
        expected = sum(len(marks) - marks.count(_SAME) for marks in self._marks)
        if not all(marks.count(_OTHER) for marks in self._marks):
            return
        with GroupByKey(folder, key_bytes=_DIGEST, expected=expected) as buckets:
            for side in (_OLD, _NEW):
                for number, line in self._lines(side):
                    asked = view_example(line).question if self._marks[side][number] else None
                    if asked is not None:
                        key = blake2b(asked.encode(), digest_size=_DIGEST).digest()
                        buckets.add(key, number << 1 | side)
            for group in buckets.groups():
                old = [number >> 1 for number in group if number & 1 == _OLD]
                new = [number >> 1 for number in group if number & 1 == _NEW]
                for before, after in zip(old, new, strict=False):
                    self._marks[_OLD][before] = self._marks[_NEW][after] = _CHANGED
                    insort(self._pairs, (after, before))
                    del self._pairs[FIRST:]

    def _lines(self, side: int) -> Iterator[tuple[int, bytes]]:
        """Yield number and line of every example after those that both halves begin with."""
        start = 0
        for part, equal in zip(self._sides[side], self._equal, strict=True):
            if equal < part.examples:
                with part.path.open("rb") as file:
                    yield from enumerate(islice(file, equal, None), start + equal)
            start += part.examples

    def _part(self, side: int, number: int) -> int:
        return int(number >= self._sides[side].train.examples)

    def _counts(self, part: int) -> Counts:
        def count(side: int, mark: int) -> int:
            train = self._sides[side].train.examples
            return self._marks[side].count(mark, *((train,) if part else (0, train)))

        return Counts(
            added=count(_NEW, _OTHER), removed=count(_OLD, _OTHER), changed=count(_NEW, _CHANGED)
        )

    def _first(self, side: int, mark: int) -> list[int]:
        found: list[int] = []
        at = self._marks[side].find(mark)
        while at >= 0 and len(found) < FIRST:
            found.append(at)
            at = self._marks[side].find(mark, at + 1)
        return found

    def _read(self, side: int, numbers: set[int]) -> dict[int, ChangedExample]:
        found: dict[int, ChangedExample] = {}
        start = 0
        for name, part in zip(NAMES, self._sides[side], strict=True):
            wanted = [n - start for n in numbers if start <= n < start + part.examples]
            for at, example in read_examples(part, wanted):
                found[start + at] = ChangedExample(
                    part=name, origin=example.origin, line=example.line
                )
            start += part.examples
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


def _halves(folder: Path, manifest: Manifest) -> DatasetSplits:
    files: Any = manifest["files"]

    def part(name: str) -> Split:
        return Split(
            path=folder / f"{name}.jsonl",
            origins=folder / f"{name}.origins",
            digest=f"sha256:{files[f'{name}.jsonl']['sha256']}",
            examples=files[f"{name}.jsonl"]["lines"],
            tokens=None,
        )

    return DatasetSplits(*(part(name) for name in NAMES))
