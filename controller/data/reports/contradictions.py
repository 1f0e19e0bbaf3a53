"""Examples with the same question and different answers, for data that exceeds the memory."""

from array import array
from bisect import insort
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from controller.data.storage.external_grouping import GroupByKey

_KEY = 8
_LISTED = 5
"""Maximum number of listed questions, and of listed examples for each."""


class Contradicted(NamedTuple):
    """Questions with different answers."""

    questions: int
    examples: int
    first: tuple[tuple[int, ...], ...]
    """Numbers of some examples of the first questions."""


class Contradictions:
    """Hashed questions and answers of examples."""

    def __init__(self, folder: Path, expected: int) -> None:
        """Prepare for about `expected` examples; the caller removes the folder."""
        self._questions = GroupByKey(folder, key_bytes=_KEY, expected=expected)
        self._answers = array("Q")

    def add(self, hashes: Iterable[tuple[bytes, bytes]]) -> None:
        """Add question and answer of the next examples; an empty question contradicts no other."""
        for question, answer in hashes:
            if question:
                self._questions.add(question, len(self._answers))
            self._answers.append(int.from_bytes(answer))

    def found(self) -> Contradicted:
        """Return the questions with different answers."""
        questions = examples = 0
        first: list[list[int]] = []
        for group in self._questions.groups():
            if len({self._answers[number] for number in group}) > 1:
                questions += 1
                examples += len(group)
                insort(first, sorted(group))
                del first[_LISTED:]
        return Contradicted(
            questions=questions,
            examples=examples,
            first=tuple(self._listed(group) for group in first),
        )

    def close(self) -> None:
        """Close the files."""
        self._questions.close()

    def _listed(self, group: list[int]) -> tuple[int, ...]:
        """Return one example of each answer, at most the number that is listed."""
        of_answer = {self._answers[number]: number for number in reversed(group)}
        return tuple(sorted(of_answer.values())[:_LISTED])
