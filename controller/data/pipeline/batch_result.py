"""Result of a batch from a worker: records, filled by `prepare_rows` and `measure`.

`build` consumes them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.examples.example import CanonicalExample, Example
from controller.data.pipeline.problems import MAX_ALIKE
from controller.data.pipeline.row_conditions import Tally
from controller.data.report import Effect, StepName
from controller.data.storage.columns import ExampleBlock

LISTED = 100
"""Problems of a batch that are told one by one; more do not help a reader."""


class Note(NamedTuple):
    """What happened to one example in one step."""

    line: int
    step: StepName
    effect: Effect
    reason: str


class PreparedExample(NamedTuple):
    """An example that is ready, before it is written."""

    line: int
    json: Mapping[str, Json]
    spelt: CanonicalExample
    example: Example | None = None
    """Where it is more than a plain conversation, or was treated."""
    group: bytes | None = None
    stratum: bytes | None = None

    @property
    def whole(self) -> Example:
        """The example, made of its JSON where it is a plain conversation."""
        messages: Any = self.json.get("messages")
        return self.example or Example(messages)


@dataclass(slots=True, kw_only=True)
class BatchResult:
    """What became of a batch."""

    rows: int = 0
    blocks: list[ExampleBlock] = field(default_factory=list)
    """One for each side that examples went to."""
    counts: Counter[tuple[StepName, Effect]] = field(default_factory=Counter)
    notes: list[Note] = field(default_factory=list)
    problems: list[tuple[int, DataError]] = field(default_factory=list)
    unlisted: list[int] = field(default_factory=list)
    """Lines with problems like those of `problems`, which says each only a few times."""
    _alike: Counter[str] = field(default_factory=Counter)
    recipe_matters: bool = False
    """True if an older recipe may have made other examples of these rows."""
    unread: Counter[str] = field(default_factory=Counter)
    """Number of rows by unread key."""
    undefined: Counter[str] = field(default_factory=Counter)
    """Number of rows by called, undefined function."""
    tally: Tally | None = None
    """Number of rows without a value for each condition; None without conditions."""
    source_error: DataError | None = None
    """What is wrong with the source itself; the rest of it is not looked at."""

    def drop(self, line: int, step: StepName, reason: str) -> None:
        """Note that an example is not used."""
        self.counts[step, "dropped"] += 1
        self.notes.append(Note(line, step, "dropped", reason))

    def note(self, line: int, step: StepName, reason: str) -> None:
        """Add a remark on an example that is used unchanged."""
        self.counts[step, "noted"] += 1
        self.notes.append(Note(line, step, "noted", reason))

    def refuse(self, line: int, error: DataError) -> None:
        """Note a problem, or only its line when it was said often."""
        if len(self.problems) == LISTED or self._alike[error.message] == MAX_ALIKE:
            self.unlisted.append(line)
            return
        self._alike[error.message] += 1
        # The traceback would keep the row alive.
        self.problems.append((line, error.with_traceback(None)))
