"""An evaluation to export: its record in the lockfile, and a line for each example. Pure."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from backends.contract.inspector import Json
from controller.evaluate.answers import Answer, agree, expected_answer
from controller.evaluate.gate import CANDIDATE, parse_condition, split_score
from controller.evaluate.metrics import BUILT_IN_METRICS
from controller.lockfile.model import Build, Evaluation
from controller.plan.fingerprint import short_id
from controller.spec.evaluation import BASE

Line: TypeAlias = Mapping[str, Any]
"""A line of the evaluation file."""
Lines: TypeAlias = Callable[[], Iterator[Line]]
"""Reads the evaluation file from its start."""

_BUILT_IN: Final = frozenset(metric.name for metric in BUILT_IN_METRICS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """An evaluation of one build, with its answers."""

    name: str
    """The fine-tune."""
    build: Build
    evaluation: Evaluation
    lines: Lines

    @property
    def title(self) -> str:
        """One line for people: fine-tune and build."""
        return f"{self.name}: build {short_id(self.build.fingerprint)}"

    @property
    def key(self) -> str:
        """ID of the evaluation: digits of the build's and the evaluation's fingerprints."""
        digits = [
            one.partition(":")[2][:16]
            for one in (self.build.fingerprint, self.evaluation.fingerprint)
        ]
        return "-".join(digits)

    def model_of(self, role: str) -> str:
        """Return the model that answered in a role, as far as the lockfile names it."""
        known = {CANDIDATE: self.build.model_id, BASE: self.build.base_model}
        return known.get(role, role)


@dataclass(slots=True, kw_only=True)
class RoleCounts:
    """Counts of one model's answers."""

    examples: int = 0
    right: int = 0
    tokens: int = 0
    latency_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Overview:
    """Findings of one reading of all lines."""

    judged_by: str = ""
    """Metric that tells right answers from wrong ones; empty if answers are compared as texts."""
    roles: dict[str, RoleCounts] = field(default_factory=dict)

    def is_right(self, line: Line, role: str) -> bool:
        """Return True if an answer is right."""
        if not self.judged_by:
            reference, calls = line.get("reference") or "", line.get("reference_calls") or []
            given = line["answers"].get(role) or "", line.get("calls", {}).get(role) or []
            is_answerable = bool(reference or calls)
            return is_answerable and agree(_answer(reference, calls), _answer(*given))
        return bool(line["values"].get(role, {}).get(self.judged_by) == 1)


def overview_of(evaluated: Evaluated, roles: Sequence[str] | None = None) -> Overview:
    """Read all lines; find the metric of right and wrong, and count.

    That metric is the first one of the gate whose values are all 0 or 1, or else the first such
    metric by name. Metrics that every evaluation has do not count.

    Args:
        evaluated: The evaluation.
        roles: Models to count, in this order; None for all.
    """
    shares: set[str] | None = None
    for line in evaluated.lines():
        values = line["values"].get(CANDIDATE, {})
        known = {name for name, value in values.items() if value in {0, 1, None}}
        shares = known if shares is None else shares & known
    found = sorted((shares or set()) - _BUILT_IN)
    gate = evaluated.build.verdict.gate if evaluated.build.verdict else []
    named = [split_score(name)[0] for text in gate for name in _scores_of(text)]
    overview = Overview(judged_by=next((one for one in (*named, *found) if one in found), ""))
    for line in evaluated.lines():
        for role in roles or roles_of(line):
            if role in line["answers"]:
                _count(overview, line, role)
    return overview


def roles_of(line: Line) -> list[str]:
    """Return the models that answered, the candidate first."""
    return sorted(line["answers"], key=lambda role: (role != CANDIDATE, role != BASE, role))


def text_of(value: Json) -> str:
    """Return a value as JSON text that people can read."""
    return json.dumps(value, ensure_ascii=False)


def _answer(text: str, calls: Sequence[Json]) -> Answer:
    return expected_answer({"content": text, "tool_calls": calls})


def _scores_of(condition: str) -> Sequence[str]:
    try:
        return parse_condition(condition).scores
    except ValueError:
        # Recorded by another version of the language.
        return ()


def _count(overview: Overview, line: Line, role: str) -> None:
    counts = overview.roles.setdefault(role, RoleCounts())
    counts.examples += 1
    counts.right += overview.is_right(line, role)
    counts.tokens += line.get("tokens", {}).get(role, 0)
    counts.latency_s += line.get("latency_s", {}).get(role, 0.0)
