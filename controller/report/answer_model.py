"""Records of the answers in a report, and of what follows from them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Change: TypeAlias = Literal["broken", "fixed", "wrong", "right", "changed", "same", "uncounted"]
"""Outcome of one example for this build and a rival: `broken` is right by the rival only, `fixed` by
this build only, `wrong` and `right` by both. Without a metric that tells right from wrong the answers
are `changed` or the `same`. `uncounted` examples do not count for the metric."""
CHANGES: Final[tuple[Change, ...]] = (
    *("broken", "fixed", "changed", "wrong", "right", "same", "uncounted"),
)
"""In the order of display."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text from outside, cut where it is too long to show."""

    shown: str
    characters: int
    """Length of the whole text."""

    @property
    def is_cut(self) -> bool:
        """True if only the beginning is shown."""
        return len(self.shown) < self.characters


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerView:
    """One model's answer to one example."""

    role: str
    name: str
    text: Text
    thinking: Text | None = None
    value: float | None = None
    """Value of the metric by which changes are told."""
    finish_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message before the answer."""

    role: str
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleView:
    """One held-out example with all answers, side by side."""

    number: int
    """Place in the held-out set, from 1."""
    id: str
    origin: str
    question: Text
    """The last message of the user."""
    context: Sequence[Message]
    """All other messages before the answer."""
    expected: Text | None
    answers: Sequence[AnswerView]
    outcomes: Mapping[str, Change]
    """By rival."""
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerGroup:
    """Examples with the same outcome against the first rival."""

    change: Change
    count: int
    """Number of all such examples."""
    examples: Sequence[ExampleView]
    """Those that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Confusion matrix of one model."""

    role: str
    name: str
    labels: Sequence[str]
    """Expected labels, the frequent ones first."""
    counts: Sequence[Sequence[int]]
    """A row for each expected label, a column for each given label; the last column counts answers
    that are no label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRow:
    """Mean of the metric over a part of the examples."""

    value: str
    count: int
    scores: Mapping[str, float | None]
    """By role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """Parts of the examples by one column."""

    column: str
    rows: Sequence[SliceRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens and times of one model's answers."""

    role: str
    name: str
    answers: int
    tokens: int | None
    latency_p50_s: float | None
    latency_p95_s: float | None
    cut: int
    """Answers that ran into `max_tokens`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Answers of the evaluation, and what follows from them."""

    count: int
    metric: str | None
    """Name of the metric that tells right from wrong; None if none of the measured ones does."""
    roles: Sequence[str]
    """Models that answered, this build first."""
    rival: str | None
    """The rival whose changes are the groups."""
    changes: Mapping[str, Mapping[Change, int]]
    """Number of examples by rival and outcome."""
    groups: Sequence[AnswerGroup]
    matrices: Sequence[Matrix] = ()
    slices: Sequence[Slices] = ()
    usage: Sequence[Usage] = ()

    @property
    def shown(self) -> int:
        """Number of examples that the page shows."""
        return sum(len(group.examples) for group in self.groups)
