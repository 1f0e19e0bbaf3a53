"""Write the train and the held-out half from the spool, by verdict."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, repeat
from pathlib import Path
from typing import TypeVar

from controller.data.report import SplitName
from controller.data.select.select import repeat_count
from controller.data.sources.source_file import SourceLabel
from controller.data.storage.columns import DIGEST, DROPPED, TRAIN
from controller.data.storage.example_store import ExampleStore
from controller.data.storage.hashing_writer import HashingWriter, WrittenFile

NAMES: tuple[SplitName, SplitName] = ("train", "held_out")
"""By verdict."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenSplits:
    """What was written."""

    files: dict[str, WrittenFile]
    """`train.jsonl`, `train.origins`, `held_out.jsonl`, `held_out.origins`."""
    tokens: dict[SplitName, int]
    examples: Counter[int]
    """Different examples of each source."""


def write_splits(
    store: ExampleStore,
    splits: bytearray,
    *,
    labels: Sequence[SourceLabel],
    weights: Sequence[float],
    to: Path,
) -> WrittenSplits:
    """Write both parts, and a file with each example's origin next to them.

    Args:
        store: The examples.
        splits: Verdict of every example.
        labels: Each source's file.
        weights: How often to train on the examples of each source.
        to: Folder of the files.
    """
    tokens, examples = [0, 0], Counter[int]()
    with ExitStack() as stack:
        halves = [
            (
                stack.enter_context(closing(HashingWriter(to / f"{name}.jsonl"))),
                stack.enter_context(closing(HashingWriter(to / f"{name}.origins"))),
            )
            for name in NAMES
        ]
        for once, canonical in _runs(store, splits):
            examples[once.source] += len(once.sizes)
            lines, origins = halves[once.split]
            run, data = once, canonical
            if once.split == TRAIN and weights[once.source] != 1:
                run, data = _weighted(once, data, weights[once.source])
            tokens[run.split] += sum(run.tokens)
            lines.add(data, len(run.lines))
            places = labels[run.source].of_rows(run.lines)
            origins.add(places.encode() if run.lines else b"", len(run.lines))
        files = {}
        for name, (lines, origins) in zip(NAMES, halves, strict=True):
            files[f"{name}.jsonl"] = lines.finish()
            files[f"{name}.origins"] = origins.finish()
    return WrittenSplits(
        files=files, tokens=dict(zip(NAMES, tokens, strict=True)), examples=examples
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Examples that follow one another and have one source and verdict."""

    source: int
    split: int
    sizes: Sequence[int]
    lines: Sequence[int]
    tokens: Sequence[int] = ()
    digests: Sequence[bytes] = ()


def _runs(store: ExampleStore, splits: bytearray) -> Iterator[tuple[_Run, bytes]]:
    """Yield what stays, with its canonical lines."""
    columns = zip(
        store.numbers("size"),
        store.numbers("line"),
        store.numbers("tokens") if store.has("tokens") else repeat((None, ())),
        store.keys("digest", DIGEST) if store.has("digest") else repeat((None, ())),
        strict=False,
    )
    for (block, sizes), (_, lines), (_, tokens), (_, digests) in columns:
        start, end = 0, block.first + block.examples
        data, at = store.read(block), 0
        for split, same in groupby(splits[block.first : end]):
            part = slice(start, start + len(list(same)))
            run = _Run(
                source=block.source,
                split=split,
                sizes=sizes[part],
                lines=lines[part],
                tokens=tokens[part],
                digests=digests[part],
            )
            size = sum(run.sizes)
            if split != DROPPED:
                yield run, data[at : at + size]
            start, at = part.stop, at + size


def _weighted(run: _Run, data: bytes, weight: float) -> tuple[_Run, bytes]:
    times = [repeat_count(digest, weight) for digest in run.digests]
    ends = list(accumulate(run.sizes))
    starts = (end - size for end, size in zip(ends, run.sizes, strict=True))
    texts = [data[start:end] for start, end in zip(starts, ends, strict=True)]
    repeated = replace(
        run,
        sizes=_times(run.sizes, times),
        lines=_times(run.lines, times),
        tokens=_times(run.tokens, times) if run.tokens else (),
        digests=(),
    )
    return repeated, b"".join(_times(texts, times))


def _times(values: Sequence[Value], times: list[int]) -> list[Value]:
    return [value for value, count in zip(values, times, strict=True) for _ in range(count)]
