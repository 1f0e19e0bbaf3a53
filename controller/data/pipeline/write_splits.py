"""Write the train and the held-out split, and each example's origin beside them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, repeat
from pathlib import Path
from typing import TypeVar

from controller.data.pipeline.held_out_columns import ColumnsWriter
from controller.data.select.select import repeat_count
from controller.data.sources.source_file import SourceLabel
from controller.data.storage.columns import DIGEST, DROPPED, HELD_OUT, TRAIN
from controller.data.storage.example_store import ExampleStore
from controller.data.storage.hashing_writer import HashingWriter, WrittenFile
from controller.spec.data import SplitName

SPLITS: tuple[SplitName, SplitName] = ("train", "held_out")
"""Names of the splits `TRAIN` and `HELD_OUT`."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenSplits:
    """Files of both splits."""

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
    columns: ColumnsWriter | None = None,
) -> WrittenSplits:
    """Write the files of both splits.

    Args:
        store: The examples.
        splits: Split of every example.
        labels: Label of each source's file.
        weights: Number of repetitions of the examples of each source in the train split.
        to: Folder of the files.
        columns: Receives the values of the held-out examples' rows; None if they are not wanted.
    """
    tokens, examples = [0, 0], Counter[int]()
    with ExitStack() as stack:

        def open_writer(name: str) -> HashingWriter:
            return stack.enter_context(closing(HashingWriter(to / name)))

        writers = [
            (open_writer(f"{name}.jsonl"), open_writer(f"{name}.origins")) for name in SPLITS
        ]
        for run, json_lines in _runs(store, splits):
            examples[run.source] += len(run.sizes)
            weight = weights[run.source] if run.split == TRAIN else 1
            repeated, data = (run, json_lines) if weight == 1 else _repeat(run, json_lines, weight)
            tokens[run.split] += sum(repeated.tokens)
            lines, origins = writers[run.split]
            lines.add(data, len(repeated.line_numbers))
            places = labels[run.source].of_rows(repeated.line_numbers)
            origins.add(places.encode(), len(repeated.line_numbers))
            if columns is not None and run.split == HELD_OUT:
                columns.add(run.row_columns, run.source, run.line_numbers)
        files = {}
        for name, (lines, origins) in zip(SPLITS, writers, strict=True):
            files[f"{name}.jsonl"] = lines.finish()
            files[f"{name}.origins"] = origins.finish()
    return WrittenSplits(
        files=files, tokens=dict(zip(SPLITS, tokens, strict=True)), examples=examples
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Consecutive examples of one source and one split."""

    source: int
    split: int
    sizes: Sequence[int]
    line_numbers: Sequence[int]
    tokens: Sequence[int] = ()
    digests: Sequence[bytes] = ()
    row_columns: Sequence[bytes] = ()


def _runs(store: ExampleStore, splits: bytearray) -> Iterator[tuple[_Run, bytes]]:
    """Yield the examples that stay, with their canonical lines."""
    columns = zip(
        store.numbers("size"),
        store.numbers("line"),
        store.numbers("tokens") if store.has("tokens") else repeat((None, ())),
        store.keys("digest", DIGEST) if store.has("digest") else repeat((None, ())),
        strict=False,
    )
    for (block, sizes), (_, line_numbers), (_, tokens), (_, digests) in columns:
        start, end = 0, block.first + block.examples
        json_lines, at, row_columns = store.read(block), 0, store.row_columns(block)
        for split, same in groupby(splits[block.first : end]):
            span = slice(start, start + len(list(same)))
            run = _Run(
                source=block.source,
                split=split,
                sizes=sizes[span],
                line_numbers=line_numbers[span],
                tokens=tokens[span],
                digests=digests[span],
                row_columns=row_columns[span],
            )
            size = sum(run.sizes)
            if split != DROPPED:
                yield run, json_lines[at : at + size]
            start, at = span.stop, at + size


def _repeat(run: _Run, json_lines: bytes, weight: float) -> tuple[_Run, bytes]:
    """Return a run whose examples are repeated by the weight of their source."""
    counts = [repeat_count(digest, weight) for digest in run.digests]
    ends = list(accumulate(run.sizes))
    starts = (end - size for end, size in zip(ends, run.sizes, strict=True))
    lines = [json_lines[start:end] for start, end in zip(starts, ends, strict=True)]
    repeated = replace(
        run,
        sizes=_repeated(run.sizes, counts),
        line_numbers=_repeated(run.line_numbers, counts),
        tokens=_repeated(run.tokens, counts) if run.tokens else (),
        digests=(),
    )
    return repeated, b"".join(_repeated(lines, counts))


def _repeated(values: Sequence[Value], counts: list[int]) -> list[Value]:
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]
