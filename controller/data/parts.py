"""Write the train and the held-out half from the spool, by verdict."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from controller.data.decide import DROPPED, TRAIN, copies
from controller.data.report import PartName
from controller.data.spool import Record, Spool
from controller.data.writer import Writer, Written

NAMES: tuple[PartName, PartName] = ("train", "held_out")
"""By verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What was written."""

    files: dict[str, Written]
    """`train.jsonl`, `train.origins`, `held_out.jsonl`, `held_out.origins`."""
    tokens: dict[PartName, int]
    examples: Counter[int]
    """Different examples of each source."""


def write_parts(
    spool: Spool, verdicts: bytearray, *, shown: Sequence[str], weights: Sequence[float], to: Path
) -> Parts:
    """Write both halves, each example's origin beside it.

    Args:
        spool: The examples.
        verdicts: Of every example.
        shown: Name of each source's file.
        weights: How often examples of each source are trained on.
        to: Folder of the files.
    """
    tokens, examples = [0, 0], Counter[int]()
    with ExitStack() as stack:
        read = stack.enter_context(spool.open_lines()).read
        halves = [
            (
                stack.enter_context(closing(Writer(to / f"{name}.jsonl"))),
                stack.enter_context(closing(Writer(to / f"{name}.origins"))),
            )
            for name in NAMES
        ]
        for source, verdict, once in _runs(spool, verdicts):
            data = read(sum(record.size for record in once))
            if verdict == DROPPED:
                continue
            examples[source] += len(once)
            lines, origins = halves[verdict]
            run = once
            if verdict == TRAIN and weights[source] != 1:
                run, data = _weighted(once, data, weights[source])
            tokens[verdict] += sum(record.tokens for record in run)
            lines.add(data, len(run))
            name = shown[source]
            origins.add("".join([f"{name}:{record.line}\n" for record in run]).encode(), len(run))
        files = {}
        for name, (lines, origins) in zip(NAMES, halves, strict=True):
            files[f"{name}.jsonl"] = lines.finish()
            files[f"{name}.origins"] = origins.finish()
    return Parts(files=files, tokens=dict(zip(NAMES, tokens, strict=True)), examples=examples)


def _runs(spool: Spool, verdicts: bytearray) -> Iterator[tuple[int, int, list[Record]]]:
    """Yield the examples that follow one another and have one source and verdict."""
    for stretch, records in spool.records_by_stretch():
        start, end = 0, stretch.first + stretch.examples
        for verdict, run in groupby(verdicts[stretch.first : end]):
            stop = start + len(list(run))
            yield stretch.source, verdict, records[start:stop]
            start = stop


def _weighted(run: list[Record], data: bytes, weight: float) -> tuple[list[Record], bytes]:
    records: list[Record] = []
    lines: list[bytes] = []
    start = 0
    for record in run:
        times = copies(record, weight)
        records += [record] * times
        lines += [data[start : start + record.size]] * times
        start += record.size
    return records, b"".join(lines)
