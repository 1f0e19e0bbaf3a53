"""Record of a metric. Each module of `controller.evaluate.metrics` holds one, or a few. Pure.

A metric gives a tally, a tuple of numbers, to each held-out example, and makes a score of the sums
of the tallies. Any subset of the examples can be scored, and any weighted one, which is what slices
and statistics over examples need.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from pydantic import StringConstraints

from backends.contract.completions import Completion, Prompt
from backends.contract.inspector import Json
from controller.evaluate.answers import Answer
from controller.spec.base import Strict

Tally: TypeAlias = tuple[float, ...]
ScoreName: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
SettingsT = TypeVar("SettingsT", bound="MetricSettings")
AnyMetric: TypeAlias = "Metric[Any]"

RIGHT: Final[Tally] = (1.0, 1.0)
WRONG: Final[Tally] = (0.0, 1.0)


class MetricSettings(Strict):
    """Settings that every metric has."""

    name: ScoreName | None = None
    """Name in gates and scores, where the same metric is measured twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredExample:
    """A held-out example with a model's answer."""

    expected: Answer
    given: Answer
    completion: Completion
    """The answer as the backend returned it, with the losses of the answers in the data."""
    base: Completion | None = None
    """The same of the base model, if it answers too; of the base model itself, the same object."""
    is_unwanted: bool = False
    """True if the data has only an answer that is marked as bad, so that none is expected."""
    question: Sequence[Mapping[str, Json]] = ()
    """Messages before the answer."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Columns of the example's row that slices and groups name."""


class Misfit(NamedTuple):
    """Reason why a metric is useless for the expected answers of a held-out set."""

    message: str
    """Follows the name of the metric: `needs a number in every expected answer`."""
    remedy: str
    place: int | None = None
    """Place of the first expected answer that does not fit; None if the whole set does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """Opinion of a judge on one answer, or on two answers to one question."""

    tally: Tally | None
    """None if the judge's words hold no opinion."""
    depends_on_order: bool = False
    """True if the judge preferred another answer when the two changed places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge(Generic[SettingsT]):
    """How a metric asks a model for opinions on answers.

    The settings of the metric are a `controller.spec.asked.JudgeModel`.
    """

    prompts: Callable[[SettingsT, AnsweredExample, AnsweredExample | None], Sequence[Prompt]]
    """Return the prompts for an answer and, if there is one, the answer that it is compared with;
    none if the opinion is known without asking."""
    read: Callable[[SettingsT, Sequence[Completion]], Opinion]
    """Return the opinion in the judge's answers to these prompts."""
    against: Callable[[SettingsT], str | None]
    """Return the role of the model that the candidate is compared with; None if every answer is
    judged by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet(Generic[SettingsT]):
    """Source of people's scores for a metric."""

    path: Callable[[SettingsT], str]
    """Return the path of the file, relative to the folder of the spec."""
    scale: Callable[[SettingsT], tuple[float, float]]
    """Return the lowest and the highest score."""


def unknown(_: object, examples: Sequence[AnsweredExample]) -> list[Tally | None]:
    """Return no tally for any example: opinions come from elsewhere, not from the answers."""
    return [None] * len(examples)


def mean(sums: Sequence[float]) -> float | None:
    """Return the mean of values whose tallies are `(value, 1)` or `(value x weight, weight)`."""
    return sums[0] / sums[1] if sums[1] else None


def _unchanged(settings: SettingsT, _: Iterable[Answer]) -> SettingsT:
    return settings


def _fits(_: MetricSettings, __: Sequence[Answer]) -> Misfit | None:
    return None


def _ready(_: MetricSettings) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(Generic[SettingsT]):
    """One way to score answers."""

    name: str
    """Name in specs, gates and recorded scores."""
    settings: type[SettingsT]
    """Settings in a spec. The model's docstring describes the metric to people."""
    tally: Callable[[SettingsT, Sequence[AnsweredExample]], Sequence[Tally | None]]
    """Return a tally for each example, in the same order; None for one that does not count."""
    combine: Callable[[Sequence[float]], float | None] = mean
    """Return the score of examples by the sums of their tallies; None if they have none."""
    percentile: float | None = None
    """The score is this percentile of the tallies' first numbers, instead of `combine`."""
    higher_is_better: bool
    is_proportion: bool = False
    """True if tallies are `RIGHT` and `WRONG`, so that the score is a share of the examples."""
    full_score: float | None = None
    """Score of answers that are all right, where the lowest score is 0; None if scores have no such
    ends. A margin of such a score is a share of it."""
    is_of_texts: bool = False
    """True if plain texts, which nobody answers, have this score too."""
    is_of_preferences: bool = False
    """True if only preference pairs and marked answers have this score."""
    needs_losses: bool = False
    """True if it needs the losses of answers in the data, which not every backend measures."""
    unit: Literal["", "s"] = ""
    """Unit of the score; gates write a time as `800ms` or `0.8s`."""
    prepare: Callable[[SettingsT, Iterable[Answer]], SettingsT] = _unchanged
    """Complete the settings from the expected answers of the whole held-out set."""
    unreachable: Callable[[SettingsT, Iterable[Answer]], Sequence[str]] = lambda *_: ()
    """Return the texts of expected answers to which every answer counts as wrong."""
    misfit: Callable[[SettingsT, Sequence[Answer]], Misfit | None] = _fits
    """Return why the expected answers of the whole held-out set cannot be scored."""
    require_ready: Callable[[SettingsT], None] = _ready
    """Raise an `FtctlError` if settings are wrong, or a package is missing, in a way that reading a
    spec does not find."""
    is_of_labels: bool = False
    """True if expected answers are labels, which are few, short, and the same in training."""
    judge: Judge[SettingsT] | None = None
    """How a model is asked for the tallies, which `tally` does not know then."""
    sheet: Sheet[SettingsT] | None = None
    """Source of people's scores, from which the tallies are made."""
    version: int = 0
    """Raised when equal answers get other scores, or a judge gets another prompt; 0 is the first."""
    words: str = ""
    """Description for people, one sentence or more; that of the settings if empty."""

    @property
    def description(self) -> str:
        """Description for people, one sentence or more."""
        return self.words or inspect.cleandoc(self.settings.__doc__ or "")

    def score(self, tallies: Iterable[Tally | None]) -> float | None:
        """Return the score of examples by their tallies; None if none of them counts."""
        counted = [tally for tally in tallies if tally is not None]
        if not counted:
            return None
        if self.percentile is not None:
            return percentile([tally[0] for tally in counted], self.percentile)
        return self.combine([sum(numbers) for numbers in zip(*counted, strict=True)])

    def value(self, tally: Tally | None) -> float | None:
        """Return the number of one example, for people."""
        return None if tally is None else self.score([tally])


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile of values, interpolated linearly between neighbours."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def proportion(
    name: str,
    settings: type[SettingsT],
    is_right: Callable[[SettingsT, Sequence[AnsweredExample]], Sequence[bool | None]],
    *,
    prepare: Callable[[SettingsT, Iterable[Answer]], SettingsT] = _unchanged,
    higher_is_better: bool = True,
    is_of_labels: bool = False,
) -> Metric[SettingsT]:
    """Return a metric whose score is the share of examples that are right.

    Args:
        name: Name of the metric.
        settings: Model of its settings.
        is_right: Returns a value for each example; None for one that does not count.
        prepare: As of `Metric`.
        higher_is_better: As of `Metric`.
        is_of_labels: As of `Metric`.
    """

    def tally(chosen: SettingsT, examples: Sequence[AnsweredExample]) -> list[Tally | None]:
        values = is_right(chosen, examples)
        return [None if right is None else RIGHT if right else WRONG for right in values]

    return Metric(
        name=name,
        settings=settings,
        tally=tally,
        higher_is_better=higher_is_better,
        is_proportion=True,
        prepare=prepare,
        is_of_labels=is_of_labels,
    )
