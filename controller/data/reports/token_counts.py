"""Tokens of each example of a dataset: counted on all cores, once, and remembered.

Memory is four bytes for each example; a second request reads only these numbers.
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
from controller.data.storage.memo_file import cached_bytes
from controller.spec.data import SplitName

_VERSION = 1
"""Raised with every change of the memo's content."""

_MAX_BINS = 12
"""Maximum number of a histogram's bins, without the last bin for all longer examples."""

_PARSED_AT_ONCE = 1_000
"""Number of examples to parse at once: enough for the inspector, and little memory."""


def token_lengths(split: Split, inspector: ExampleInspector, cache: Path) -> "array[int]":
    """Return the number of tokens of each example, in order.

    Raises:
        BackendError: A package is missing, or the tokenizer cannot be read.
    """
    key = digest([_VERSION, split.digest, inspector.identity])
    return array("I", cached_bytes(cache / "lengths" / key, lambda: _counted(split, inspector)))


def _counted(split: Split, inspector: ExampleInspector) -> bytes:
    with process_pool(split.path.stat().st_size) as map_ordered:
        return b"".join(map_ordered(_CountTokens(inspector=inspector), read_blocks(split.path)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthStats:
    """Total, percentiles and maximum of token counts."""

    total: int
    p50: int
    """Half of the examples have at most this length; likewise 90 and 99 in a hundred below."""
    p90: int
    p99: int
    longest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramBin:
    """Examples of similar length."""

    low: int
    high: int | None
    """The greatest length in it; None for the last bin, which has all longer examples."""
    counts: Mapping[SplitName, int]


def length_stats(lengths: Iterable[int]) -> LengthStats:
    """Return the statistics of the lengths of a split; zeros if there are none."""
    counts = Counter(lengths)
    return LengthStats(
        total=sum(length * examples for length, examples in counts.items()),
        p50=_percentile(counts, 0.5),
        p90=_percentile(counts, 0.9),
        p99=_percentile(counts, 0.99),
        longest=max(counts, default=0),
    )


def histogram(lengths: Mapping[SplitName, Iterable[int]]) -> tuple[HistogramBin, ...]:
    """Return a histogram of the lengths of each split, with round bin widths.

    The last bin has the examples that are longer than nearly all others.
    """
    counts = {name: Counter(of_split) for name, of_split in lengths.items()}
    everything: Counter[int] = Counter()
    for of_split in counts.values():
        everything.update(of_split)
    if not everything:
        return ()
    p99, first = _percentile(everything, 0.99), min(everything)
    width = next(w for w in _round_numbers() if (p99 // w) - (first // w) < _MAX_BINS)
    bins = [
        _bin(counts, number * width, (number + 1) * width - 1)
        for number in range(first // width, p99 // width + 1)
    ]
    low = (p99 // width + 1) * width
    if max(everything) >= low:
        bins.append(_bin(counts, low, None))
    return tuple(bins)


def _bin(counts: Mapping[SplitName, Counter[int]], low: int, high: int | None) -> HistogramBin:
    found = {
        name: sum(
            examples
            for length, examples in of_split.items()
            if low <= length and (high is None or length <= high)
        )
        for name, of_split in counts.items()
    }
    return HistogramBin(low=low, high=high, counts=found)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _CountTokens:
    """Task of a worker: the counts of a block of lines."""

    inspector: ExampleInspector

    def open(self) -> Callable[[bytes], bytes]:
        return self._count

    def _count(self, block: bytes) -> bytes:
        lines = block.splitlines()
        lengths = array("I")
        for start in range(0, len(lines), _PARSED_AT_ONCE):
            examples = [json.loads(line) for line in lines[start : start + _PARSED_AT_ONCE]]
            lengths.extend(self.inspector.count(examples))
        return lengths.tobytes()
