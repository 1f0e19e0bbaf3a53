"""Problems of one source: as many as help a reader, and the number of the others."""

from collections import Counter
from dataclasses import replace

from controller.data.errors import DataError
from controller.data.pipeline.batch_result import MAX_ALIKE, BatchResult
from controller.data.sources.source_file import SourceLabel
from controller.errors import Problem

MAX_PROBLEMS = 20
"""Maximum number of problems listed for one source; a wrong file has a problem in every row."""


class Problems:
    """Collects the problems of one source."""

    def __init__(self, label: SourceLabel) -> None:
        self._label = label
        self._problems: list[Problem] = []
        self._alike: Counter[str] = Counter()
        self._more = 0
        self._more_from: int | None = None

    def add(self, line: int | None, error: DataError) -> None:
        """Add a problem, or count it if the list is full."""
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

    def add_batch(self, result: BatchResult) -> None:
        """Add the problems of a batch, and count its unlisted problems."""
        for line, error in result.problems:
            self.add(line, error)
        self._more += len(result.unlisted)
        self._more_from = self._more_from or min(result.unlisted, default=None)

    def all(self) -> list[Problem]:
        """Return the list, with the count of the other problems last."""
        if not self._more:
            return self._problems
        last = self._problems[-1]
        number = max(last.line or (last.row or 0) + 1, self._more_from or 1)
        message = f"and {self._more} more of these problems"
        return [*self._problems, replace(self._at(number), message=message)]

    def _at(self, number: int | None, line: int | None = None) -> Problem:
        """Return a problem with only its place: a row, as the reader numbered it, or a line."""
        file = self._label.display_path
        if number is not None and self._label.is_indexed:
            return Problem(file=file, row=number - 1, message="")
        return Problem(file=file, line=number if line is None else line, message="")
