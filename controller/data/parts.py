"""Write the train and the held-out half from the spool, by verdict."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from controller.data.decide import DROPPED, TRAIN, copies
from controller.data.report import PartName
from controller.data.spool import Spool
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
        for number, (source, record) in enumerate(spool.records()):
            line = read(record.size)
            verdict = verdicts[number]
            if verdict == DROPPED:
                continue
            weight = weights[source]
            times = copies(record, weight) if verdict == TRAIN and weight != 1 else 1
            examples[source] += 1
            tokens[verdict] += record.tokens * times
            lines, origins = halves[verdict]
            origin = f"{shown[source]}:{record.line}\n".encode()
            for _ in range(times):
                lines.add(line)
                origins.add(origin)
        files = {}
        for name, (lines, origins) in zip(NAMES, halves, strict=True):
            files[f"{name}.jsonl"] = lines.finish()
            files[f"{name}.origins"] = origins.finish()
    return Parts(files=files, tokens=dict(zip(NAMES, tokens, strict=True)), examples=examples)
