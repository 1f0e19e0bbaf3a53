"""Rows of a file of misses that ask what a held-out example asks: refused.

`ftctl evaluate NAME --misses FILE` writes the held-out examples that a model failed, in the form of
training data, each with the key `ftctl_miss_of`. A model that trains on them is graded on what it
learned. Two questions are the same if their texts are nearly the same; the answers do not matter,
since people correct them.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple

from controller.data.examples.compared_parts import rest_of, texts_of
from controller.data.examples.example import Example, parse
from controller.data.extras import import_extra
from controller.data.storage.columns import HELD_OUT
from controller.data.storage.example_store import ExampleStore

MISS_OF: Final = "ftctl_miss_of"
"""Key of a row that names the held-out example of a miss; no example has it."""


class LeakedMiss(NamedTuple):
    """A miss, and a held-out example that asks the same."""

    number: int
    held_out: int


class _Question(NamedTuple):
    text: str
    rest: bytes
    """Images and calls, which must be equal."""


def leaked_misses(
    store: ExampleStore, splits: bytearray, misses: Collection[int], similarity: float
) -> Iterator[LeakedMiss]:
    """Yield each miss whose question is, nearly, the question of a held-out example.

    Args:
        store: The examples.
        splits: Final split of every example.
        misses: Numbers of the examples that come from a file of misses, dropped duplicates
            included: a miss that is equal to its held-out example is dropped as its duplicate.
        similarity: Share of common runs of characters from which two questions are the same.

    Raises:
        DataError: The package that compares texts is not installed.
    """
    if not misses:
        return
    minhash: Any = import_extra(
        "controller.data.select.minhash", extra="data", what="training on a file of misses"
    )
    questions = {number: _question(store.json_line(number)) for number in sorted(misses)}
    by_key: dict[bytes, list[int]] = {}
    for number, asked in questions.items():
        for key in minhash.lsh_keys(asked.text, similarity, asked.rest):
            by_key.setdefault(key, []).append(number)
    found: dict[int, int] = {}
    for number, line in _held_out(store, splits):
        asked = _question(line)
        keys = minhash.lsh_keys(asked.text, similarity, asked.rest)
        alike = {miss for key in keys for miss in by_key.get(key, ())}
        for miss in alike - found.keys() - {number}:
            # Two misses that are both held out train nothing.
            if splits[miss] == HELD_OUT and number in questions:
                continue
            text, rest = questions[miss]
            if rest == asked.rest and minhash.jaccard(text, asked.text) >= similarity:
                found[miss] = number
    for miss in sorted(found):
        yield LeakedMiss(miss, found[miss])


def _held_out(store: ExampleStore, splits: bytearray) -> Iterator[tuple[int, bytes]]:
    for block in store.blocks:
        numbers = range(block.first, block.first + block.examples)
        if HELD_OUT in splits[numbers.start : numbers.stop]:
            lines = store.read(block).splitlines(keepends=True)
            for number, line in zip(numbers, lines, strict=True):
                if splits[number] == HELD_OUT:
                    yield number, line


def _question(line: bytes) -> _Question:
    example = parse(line)
    messages = example.messages
    # A prompt for a grader has no answer.
    asked = messages if example.graded is not None else messages[:-1]
    question = Example(asked, text=example.text)
    return _Question("\n".join(texts_of(question)), rest_of(question))


def numbers_of(store: ExampleStore, lines: Sequence[tuple[int, int]]) -> list[int]:
    """Return the numbers of the examples of rows, given as source and line."""
    wanted = set(lines)
    if not wanted:
        return []
    sources = {source for source, _ in wanted}
    return [
        number
        for block, in_block in store.numbers("line")
        if block.source in sources
        for number, line in enumerate(in_block, start=block.first)
        if (block.source, line) in wanted
    ]
