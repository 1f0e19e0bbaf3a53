"""Preference pairs and marked answers as token IDs: each answer is one row, and only it is learned.

A pair is two rows with the same question. Turns of the assistant within the question are read, and
never learned.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from backends.contract.errors import BackendError
from backends.contract.inspector import Piece
from backends.local_gpu.tokens.answer_rows import conversations_of, headings_of
from backends.local_gpu.tokens.chat_tokens import BATCH, Chat, Encoded

Rows: TypeAlias = tuple[Encoded, ...]
"""The rows of an example, one for each answer, the preferred one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """A tokenizer with a chat template that reads the answers of pairs and marked answers.

    Implements `ExampleTokenizer`.
    """

    chat: Chat

    def counts(self, examples: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return each example's number of tokens in training, in all of its rows."""
        return [sum(lengths) for lengths in self._lengths(examples)]

    def longest(self, examples: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return the number of tokens of each example's longest row."""
        return [max(lengths) for lengths in self._lengths(examples)]

    def encode(self, examples: Iterable[Mapping[str, Any]]) -> Iterator[Rows | BackendError]:
        """Yield each example's rows, or the error for an example that cannot be used."""
        waiting = iter(examples)
        while batch := list(islice(waiting, BATCH)):
            rows = [conversations_of(example) for example in batch]
            encoded = self.chat.encode(row for of_one in rows for row in of_one)
            for of_one in rows:
                yield _whole(list(islice(encoded, len(of_one))))

    def blocks(self, one: Rows) -> Sequence[Encoded]:
        """Return the rows of an example."""
        return one

    def show(self, example: Mapping[str, Any]) -> list[Piece]:
        """Return an example as the model sees it, each answer below a heading.

        Raises:
            BackendError: The example cannot be learned from.
        """
        shown: list[Piece] = []
        for heading, row in zip(headings_of(example), conversations_of(example), strict=True):
            above = "\n" if shown else ""
            shown.append(Piece(text=f"{above}({heading})\n", trained=False))
            shown += self.chat.show(row)
        return shown

    def _lengths(self, examples: Sequence[Mapping[str, Any]]) -> list[list[int]]:
        rows = [conversations_of(example) for example in examples]
        counts = iter(self.chat.counts([row for of_one in rows for row in of_one]))
        return [list(islice(counts, len(of_one))) for of_one in rows]


def _whole(rows: Sequence[Encoded | BackendError]) -> Rows | BackendError:
    for row in rows:
        if isinstance(row, BackendError):
            return row
    return tuple(row for row in rows if isinstance(row, Encoded))
