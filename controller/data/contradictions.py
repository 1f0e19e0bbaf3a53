"""Examples that ask the same and answer differently, among more than fit into memory."""

from array import array
from bisect import insort
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from controller.data.buckets import Buckets

_KEY = 8
_LISTED = 5
"""Questions whose examples are listed, and examples of each."""


class Contradicted(NamedTuple):
    """What was found."""

    questions: int
    examples: int
    first: tuple[tuple[int, ...], ...]
    """Numbers of some examples of the questions that come first."""


class Contradictions:
    """What examples ask and answer, hashed."""

    def __init__(self, folder: Path, expected: int) -> None:
        """Prepare for so many examples.

        Args:
            folder: For scratch files; the caller removes it.
            expected: How many examples will come, about.
        """
        self._buckets = Buckets(folder, key_bytes=_KEY, expected=expected)
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
        """Add the next examples; one without a question counts, and contradicts nobody."""
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
        """Return an example of each answer, as many as are listed."""
        of_answer = {self._answers[number]: number for number in reversed(group)}
        return tuple(sorted(of_answer.values())[:_LISTED])
