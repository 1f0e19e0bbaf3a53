"""Record of a metric. Each module of `controller.evaluate.metrics` holds one. Pure.

A metric gives a value to each held-out example, and combines the values into one score. Any subset
of the values can be combined, which is what statistics over examples need.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Generic, TypeVar

from backends.contract.completions import Completion
from controller.evaluate.answers import Answer
from controller.spec.base import Strict

SettingsT = TypeVar("SettingsT", bound=Strict)
ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredExample:
    """A held-out example with a model's answer."""

    expected: Answer
    given: Answer
    completion: Completion
    """The answer as the backend returned it, with the loss of the expected answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(Generic[SettingsT, ValueT]):
    """One way to score answers."""

    name: str
    """Name in specs, gates and recorded scores."""
    settings: type[SettingsT]
    """Settings in a spec. The model's docstring describes the metric to people."""
    score: Callable[[SettingsT, Sequence[AnsweredExample]], Sequence[ValueT]]
    """Return a value for each example, in the same order."""
    combine: Callable[[Sequence[ValueT]], float | None]
    """Return the score of examples by their values; None if they have none."""
    higher_is_better: bool
    is_proportion: bool = False
    """True if the score is the share of examples whose value is true."""
    is_of_texts: bool = False
    """True if plain texts, which nobody answers, have this score too."""

    @property
    def words(self) -> str:
        """Description for people, one sentence or more."""
        return inspect.getdoc(self.settings) or ""

    def measure(self, settings: SettingsT, examples: Sequence[AnsweredExample]) -> float | None:
        """Return the score of a model's answers; None if the answers tell nothing."""
        return self.combine(self.score(settings, examples))


def proportion(
    name: str,
    settings: type[SettingsT],
    score: Callable[[SettingsT, Sequence[AnsweredExample]], Sequence[bool]],
) -> Metric[SettingsT, bool]:
    """Return a metric whose score is the share of examples whose value is true."""
    return Metric(
        name=name,
        settings=settings,
        score=score,
        combine=lambda values: fmean(values) if values else None,
        higher_is_better=True,
        is_proportion=True,
    )
