"""Report on every row. Records only: `build` fills them, `ftctl data` and plans show them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from backends.contract.inspector import Feature, Json
from controller.spec.data import SplitName

StepName: TypeAlias = Literal[
    "read",
    "columns",
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
"""Reasons of a step in the report itself; the file beside the dataset has all reasons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """Counts of one file of a source."""

    split: SplitName
    """The list of the spec that names the source."""
    path: str
    """Path relative to the repository, or the name of a source that is elsewhere."""
    encoding: str
    """Usual name: UTF-8, UTF-16, CP949; empty for a file that is not text."""
    license: str | None
    """The licence in the spec."""
    rows: int
    dropped: int
    examples: int
    """Different examples of the file in both splits."""
    unread: Mapping[str, int] = field(default_factory=dict)
    """Number of rows by unread key: `id`, `input.metadata`."""
    undefined: Mapping[str, int] = field(default_factory=dict)
    """Number of rows by called function that is not among the row's tools."""

    def as_json(self) -> dict[str, Json]:
        """Return the report for programs and for the cache, which call the split a part."""
        values = {key.name: getattr(self, key.name) for key in fields(self)}
        return {"part": values.pop("split"), **values}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], license_: str | None) -> "SourceReport":
        """Return the report in the cache, with the licence in today's spec."""
        values = {**values, "license": license_}
        return cls(split=values.pop("part"), **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """Counts of one step over all sources."""

    name: StepName
    kept: int
    """Examples after the step, changed ones included."""
    dropped: int
    changed: int
    noted: int
    """Examples that a person should look at and that stay unchanged: personal data, leaks."""
    reasons: tuple[str, ...]
    """The first reasons: `finetunes/data/cafe.csv:17: the same as finetunes/data/cafe.csv:3`."""

    def as_json(self) -> dict[str, Json]:
        """Return the report for programs; `asdict` takes ten times as long to copy it."""
        return {key.name: getattr(self, key.name) for key in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Report on every row."""

    sources: tuple[SourceReport, ...]
    features: tuple[Feature, ...]
    """Features of at least one example that not every chat template supports."""
    steps: tuple[StepReport, ...]
    """In the order of execution."""
    reasons: Path
    """File with every reason, one per line: `file:line: step: reason`."""
