"""How many tokens each example of a dataset has: counted on all cores, once, and kept.

In: a part, and the inspector of its model. Out: a number for each example, in order; and what people
ask of such numbers. Memory is four bytes for each; a second look reads nothing but these.
"""

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from backends.contract.inspector import ExampleInspector
from controller.canonical import digest
from controller.data.dataset import Split
from controller.data.examples.conversation_view import read_blocks
from controller.data.pipeline.process_pool import process_pool
from controller.data.report import SplitName
from controller.data.storage.memo_file import cached_bytes

_VERSION = 1
"""Raised whenever the file would hold something else."""

_BINS = 12
"""Bars that a histogram has at most, besides the last one for all that is longer."""

_COUNTED_AT_ONCE = 1_000
"""Examples that are parsed at once: enough for the inspector, and little memory."""


def token_lengths(part: Split, inspector: ExampleInspector, cache: Path) -> "array[int]":
    """Return how many tokens each example is trained as.

    Args:
        part: The train or the held-out half.
        inspector: Of the model.
        cache: Where it is kept.

    Raises:
        BackendError: A package is missing, or the tokenizer cannot be read.
    """
    key = digest([_VERSION, part.digest, inspector.identity])
    lengths = array("I")
    lengths.frombytes(cached_bytes(cache / "lengths" / key, lambda: _counted(part, inspector)))
    return lengths


def _counted(part: Split, inspector: ExampleInspector) -> bytes:
    with process_pool(part.path.stat().st_size) as run:
        return b"".join(run(_CountTokens(inspector=inspector), read_blocks(part.path)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthStats:
    """What is asked of many lengths."""

    total: int
    p50: int
    """Half of the examples are as long or shorter; the same below for 90 and 99 in a hundred."""
    p90: int
    p99: int
    longest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramBin:
    """Examples of about one length."""

    low: int
    high: int | None
    """The last length that belongs to it; None for the rest."""
    counts: Mapping[SplitName, int]
    """By part."""


def length_stats(lengths: Iterable[int]) -> LengthStats:
    """Return what is asked of the lengths of a part; zeros when there are none."""
    counts = Counter(lengths)
    return LengthStats(
        total=sum(length * examples for length, examples in counts.items()),
        p50=_percentile(counts, 0.5),
        p90=_percentile(counts, 0.9),
        p99=_percentile(counts, 0.99),
        longest=max(counts, default=0),
    )


def histogram(parts: Mapping[SplitName, Iterable[int]]) -> tuple[HistogramBin, ...]:
    """Return how many examples of each part are about so long: at most a dozen bins.

    Their width is a round number; what is longer than nearly all the others is in the last one.
    """
    counts = {name: Counter(lengths) for name, lengths in parts.items()}
    everything: Counter[int] = Counter()
    for some in counts.values():
        everything.update(some)
    if not everything:
        return ()
    first = min(everything)
    far = _percentile(everything, 0.99)
    width = next(w for w in _round_numbers() if (far // w) - (first // w) < _BINS)
    start, last = first // width, far // width
    bins = []
    for number in range(start, last + 1):
        low, high = number * width, (number + 1) * width - 1
        found = {name: _between(some, low, high) for name, some in counts.items()}
        bins.append(HistogramBin(low=low, high=high, counts=found))
    if max(everything) > bins[-1].low + width - 1:
        low = (last + 1) * width
        found = {name: _between(some, low, max(everything)) for name, some in counts.items()}
        bins.append(HistogramBin(low=low, high=None, counts=found))
    return tuple(bins)


def _percentile(counts: Counter[int], share: float) -> int:
    rank, passed = share * counts.total(), 0
    for length in sorted(counts):
        passed += counts[length]
        if passed >= rank:
            return length
    return 0


def _round_numbers() -> Iterator[int]:
    for power in count():
        yield from (digit * 10**power for digit in (1, 2, 5))


def _between(counts: Mapping[int, int], low: int, high: int) -> int:
    return sum(found for length, found in counts.items() if low <= length <= high)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CountTokens:
    """What a worker does with a stretch of lines."""

    inspector: ExampleInspector

    def open(self) -> Callable[[bytes], bytes]:
        return self._count

    def _count(self, block: bytes) -> bytes:
        lines = block.splitlines()
        lengths = array("I")
        for start in range(0, len(lines), _COUNTED_AT_ONCE):
            some = [json.loads(line) for line in lines[start : start + _COUNTED_AT_ONCE]]
            lengths.extend(self.inspector.count(some))
        return lengths.tobytes()
