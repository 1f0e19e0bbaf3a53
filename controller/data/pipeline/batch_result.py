"""Result of a batch from a worker: records, filled by `prepare_rows` and `token_limits`.

`build` consumes them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from backends.contract.inspector import Json
from controller.data.errors import DataError, NotUtf8
from controller.data.examples.example import CanonicalExample, Example
from controller.data.pipeline.held_out_columns import ColumnTally
from controller.data.pipeline.row_conditions import Tally
from controller.data.report import Effect, StepName
from controller.data.storage.columns import ExampleBlock

LISTED = 100
"""Maximum number of a batch's problems with a message; more do not help a reader."""

MAX_ALIKE = 3
"""Maximum number of problems listed with the same message."""


class Note(NamedTuple):
    """Effect of one step on one example."""

    line: int
    step: StepName
    reason: str


class PreparedExample(NamedTuple):
    """An example in canonical form, before it is written."""

    line: int
    json: Mapping[str, Json]
    canonical: CanonicalExample
    example: Example | None = None
    """None for a plain conversation that no step changed."""
    group: bytes | None = None
    stratum: bytes | None = None
    columns: dict[str, str] | None = None
    """Values of its row by wanted column; None if they are not wanted."""

    @property
    def whole(self) -> Example:
        """The example, made of its JSON for a plain conversation."""
        messages: Any = self.json.get("messages")
        return self.example or Example(messages)


@dataclass(slots=True, kw_only=True)
class RowCounts:
    """Counts of rows: of a batch, or of a file."""

    rows: int = 0
    counts: Counter[tuple[StepName, Effect]] = field(default_factory=Counter)
    """Number of examples by step and effect."""
    unread: Counter[str] = field(default_factory=Counter)
    """Number of rows by unread key."""
    undefined: Counter[str] = field(default_factory=Counter)
    """Number of rows by called, undefined function."""

    @property
    def dropped(self) -> int:
        """Number of rows that are not used."""
        return sum(count for (_, effect), count in self.counts.items() if effect == "dropped")

    def add(self, other: "RowCounts") -> None:
        """Add the counts of other rows."""
        self.rows += other.rows
        self.counts.update(other.counts)
        self.unread.update(other.unread)
        self.undefined.update(other.undefined)


@dataclass(slots=True, kw_only=True)
class BatchResult(RowCounts):
    """Examples of a batch, and what happened to the other rows."""

    blocks: list[ExampleBlock] = field(default_factory=list)
    """One for each split that has examples."""
    notes: list[Note] = field(default_factory=list)
    problems: list[tuple[int, DataError]] = field(default_factory=list)
    unlisted: list[int] = field(default_factory=list)
    """Lines with problems like those in `problems`, which has each message a few times only."""
    _alike: Counter[str] = field(default_factory=Counter)
    recipe_matters: bool = False
    """True if an older recipe may have made other examples of these rows."""
    tally: Tally | None = None
    """Number of rows without a value for each condition; None without conditions."""
    columns: ColumnTally | None = None
    """Values of the rows in the wanted columns; None if no column is wanted."""
    misses: list[int] = field(default_factory=list)
    """Lines of rows that come from a file of misses."""
    source_error: DataError | None = None
    """Problem of the source itself; its other rows are not read."""

    is_misdecoded: bool = False
    """True if a line is not UTF-8."""

    def drop(self, line: int, step: StepName, reason: str) -> None:
        """Record that an example is not used."""
        self._add(line, step, "dropped", reason)

    def note(self, line: int, step: StepName, reason: str) -> None:
        """Record a remark on an example that is used unchanged."""
        self._add(line, step, "noted", reason)

    def change(self, line: int, step: StepName, reason: str) -> None:
        """Record that a step changed an example; without a reason it is only counted."""
        self._add(line, step, "changed", reason)

    def refuse(self, line: int, error: DataError) -> None:
        """Record a problem, or only its line if its message is frequent."""
        self.is_misdecoded |= isinstance(error, NotUtf8)
        if len(self.problems) == LISTED or self._alike[error.message] == MAX_ALIKE:
            self.unlisted.append(line)
            return
        self._alike[error.message] += 1
        # The traceback would keep the row alive.
        self.problems.append((line, error.with_traceback(None)))

    def _add(self, line: int, step: StepName, effect: Effect, reason: str) -> None:
        self.counts[step, effect] += 1
        if reason:
            self.notes.append(Note(line, step, reason))
