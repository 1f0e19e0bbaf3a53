"""The problems of one source, as many as help a reader; the rest is counted. Bounded memory."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from controller.data.errors import DataError
from controller.data.sources.source_file import SourceLabel
from controller.errors import Problem

MAX_PROBLEMS = 20
"""Shown of one source; a wrong file has one in every row."""

MAX_ALIKE = 3
"""Shown with the same message: after these, a reader knows."""


class Problems:
    """Collects the problems of one source."""

    def __init__(self, label: SourceLabel) -> None:
        self._label = label
        self._problems: list[Problem] = []
        self._alike: Counter[str] = Counter()
        self._more = 0
        self._more_from: int | None = None

    def add(self, line: int | None, error: DataError) -> None:
        """Note a problem, or count it when there are many."""
        if len(self._problems) == MAX_PROBLEMS or self._alike[error.message] == MAX_ALIKE:
            self._more += 1
            self._more_from = self._more_from or line
            return
        self._alike[error.message] += 1
        # A syntax error of a file is in a line, even if its rows have an index.
        at = self._at(line) if error.line is None else self._at(None, line=error.line)
        if error.whole:
            at = self._at(None)
        self._problems.append(replace(at, message=error.message, remedy=error.remedy))

    def add_alike(self, lines: Sequence[int]) -> None:
        """Count lines with problems like those that were noted."""
        self._more += len(lines)
        self._more_from = self._more_from or min(lines, default=None)

    def all(self) -> list[Problem]:
        """Return what was noted, with the count of the others last."""
        if not self._more:
            return self._problems
        last = self._problems[-1]
        place = last.line or (last.row or 0) + 1
        rest = replace(
            self._at(max(place, self._more_from or 1)),
            message=f"and {self._more} more of these problems",
        )
        return [*self._problems, rest]

    def _at(self, number: int | None, line: int | None = None) -> Problem:
        """Return a problem with only its place: a row, as the reader numbered it, or a line."""
        if number is not None and self._label.is_indexed:
            return Problem(file=self._label.display_path, row=number - 1, message="")
        return Problem(
            file=self._label.display_path, line=number if line is None else line, message=""
        )
