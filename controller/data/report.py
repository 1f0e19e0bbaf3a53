"""What became of every row. Records only; `build` fills them, `ftctl data` and the plan show them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from backends.contract.inspector import Feature

SplitName: TypeAlias = Literal["train", "held_out"]
StepName: TypeAlias = Literal[
    "read",
    "where",
    "unusable",
    "normalise",
    "strip_end",
    "strip_html",
    "collapse_whitespace",
    "system",
    "drop_empty",
    "tools",
    "calls",
    "greeting",
    "pii",
    "pairs",
    "max_tokens",
    "deduplicate",
    "near",
    "leak",
    "sample",
    "weight",
]
STEPS: tuple[StepName, ...] = get_args(StepName)
"""Steps in the order of execution; `read` is the interpretation of a file."""
Effect: TypeAlias = Literal["dropped", "changed", "noted"]

REASONS_KEPT = 20
"""Reasons of a step that are in the report itself; every one is in the file beside the dataset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """What one file of a source gave."""

    part: SplitName
    """The list of the spec that names it."""
    path: str
    """Relative to the repository, or what the source is called elsewhere."""
    encoding: str
    """As people call it: UTF-8, UTF-16, CP949; nothing for a file that is no text."""
    license: str | None
    """As the spec says."""
    rows: int
    dropped: int
    examples: int
    """Different examples of it in the dataset, on both sides of a split."""
    unread: Mapping[str, int] = field(default_factory=dict)
    """Number of rows by unread key: `id`, `input.metadata`."""
    undefined: Mapping[str, int] = field(default_factory=dict)
    """Number of rows by called function that is not among the row's tools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one step of preparing did, over all sources."""

    name: StepName
    kept: int
    """Examples that went on, changed ones among them."""
    dropped: int
    changed: int
    noted: int
    """Examples left as they are that a person should look at: personal data, leaks."""
    reasons: tuple[str, ...]
    """The first of them: `finetunes/data/cafe.csv:17: the same as finetunes/data/cafe.csv:3`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of every row."""

    sources: tuple[SourceReport, ...]
    features: tuple[Feature, ...]
    """What at least one example has that not every chat template shows."""
    steps: tuple[StepReport, ...]
    """In the order in which they were done."""
    reasons: Path
    """File with every reason, one a line: `file:line: step: reason`."""
