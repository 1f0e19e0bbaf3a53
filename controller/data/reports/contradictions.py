"""Examples with the same question and different answers, for data that exceeds the memory."""

from array import array
from bisect import insort
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from controller.data.storage.external_grouping import GroupByKey

_KEY = 8
_LISTED = 5
"""Number of questions whose examples are listed, and of examples for each."""


class Contradicted(NamedTuple):
    """Result of the search."""

    questions: int
    examples: int
    first: tuple[tuple[int, ...], ...]
    """Numbers of some examples of the first questions."""


class Contradictions:
    """Hashed questions and answers of examples."""

    def __init__(self, folder: Path, expected: int) -> None:
        """Prepare for about `expected` examples.

        Args:
            folder: For scratch files; the caller removes it.
            expected: Approximate number of examples.
        """
        self._buckets = GroupByKey(folder, key_bytes=_KEY, expected=expected)
        self._answers = array("Q")

    def __enter__(self) -> Self:
        self._buckets.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._buckets.__exit__(kind, error, trace)

    def add(self, asked: Iterable[tuple[bytes, bytes]]) -> None:
        """Add the next examples. An example without a question counts, but contradicts no other."""
        for question, answer in asked:
            if question:
                self._buckets.add(question, len(self._answers))
            self._answers.append(int.from_bytes(answer))

    def found(self) -> Contradicted:
        """Return the questions with different answers."""
        questions = examples = 0
        first: list[list[int]] = []
        for group in self._buckets.groups():
            if len({self._answers[number] for number in group}) > 1:
                questions += 1
                examples += len(group)
                insort(first, sorted(group))
                del first[_LISTED:]
        return Contradicted(
            questions=questions,
            examples=examples,
            first=tuple(self._shown(group) for group in first),
        )

    def _shown(self, group: list[int]) -> tuple[int, ...]:
        """Return an example of each answer, at most the number that is listed."""
        of_answer = {self._answers[number]: number for number in reversed(group)}
        return tuple(sorted(of_answer.values())[:_LISTED])
