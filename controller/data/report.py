"""What became of every row. Records only; `build` fills them, `ftctl data` and the plan show them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

PartName: TypeAlias = Literal["train", "held_out"]

REASONS_KEPT = 20
"""Reasons that are in the report itself; every one is in the file beside the dataset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """What one source of the spec gave."""

    part: PartName
    """The list of the spec that names it."""
    path: str
    """Relative to the repository."""
    encoding: str
    """As people call it: UTF-8, UTF-16, CP949."""
    rows: int
    examples: int
    """Examples in the dataset, on both sides of a split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one step of preparing did, over all sources."""

    name: str
    """`normalise`, `collapse_whitespace`, `system`, `deduplicate` or `max_tokens`."""
    kept: int
    """Examples that went on, changed ones among them."""
    dropped: int
    changed: int
    reasons: tuple[str, ...]
    """The first of them: `finetunes/data/cafe.csv:17: the same as finetunes/data/cafe.csv:3`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of every row."""

    sources: tuple[SourceReport, ...]
    steps: tuple[StepReport, ...]
    """In the order in which they were done."""
    reasons: Path
    """File with every reason, one a line, with the step's name."""
