"""`evaluation.retain` in a spec: built-in suites by name, and files of the team's own."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Discriminator, StringConstraints, Tag, field_validator

from backends.pydantic_errors import InvalidValue
from controller.evaluate.retain.suites import SUITES, SuiteName
from controller.spec.base import NonEmpty, Strict
from controller.spec.data import Columns
from controller.spec.metrics import ChosenMetric

ALL: Final = "all"
SourceName: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class RetainSource(Strict):
    """Examples of your own that the tuned model must still answer as before: an old held-out set.

    They are asked as they are written, without `data.system` and `data.prepare`.
    """

    name: SourceName
    """Name in gates and scores, after `retain.`."""
    path: NonEmpty
    """File of conversations with their answers, relative to the spec's folder; any format and
    layout that training sources may have."""
    columns: Columns | None = None
    """Columns with question and answer; recognised from the keys of a row when absent."""
    metric: ChosenMetric
    """The metric that scores the answers."""

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name == ALL or name in SUITES:
            raise InvalidValue(f"{name} is a built-in suite", "Choose another name.")
        return name

    @field_validator("metric")
    @classmethod
    def _has_no_name(cls, metric: ChosenMetric) -> ChosenMetric:
        if metric.metric.judge is not None or metric.metric.sheet is not None:
            message = f"{metric.metric.name} scores answers to held-out prompts alone"
            raise InvalidValue(message, "Choose a metric by rule, such as exact_match.")
        if metric.settings.name is not None:
            raise InvalidValue(
                "the score is named by `name` of the source, not by that of its metric",
                "Remove `name` from the metric.",
            )
        return metric


def _form(value: object) -> str:
    return "<source>" if isinstance(value, dict | RetainSource) else "<suite>"


RetainForm: TypeAlias = Annotated[
    Annotated[Literal[SuiteName, "all"], Tag("<suite>")] | Annotated[RetainSource, Tag("<source>")],
    Discriminator(_form),
]
"""An item of `evaluation.retain`."""


def suites_of(retain: Sequence[RetainForm]) -> tuple[SuiteName, ...]:
    """Return the built-in suites that a spec asks for; `all` stands for every one."""
    named = [one for one in retain if not isinstance(one, RetainSource)]
    return tuple(name for name in SUITES if name in named or ALL in named)


def sources_of(retain: Sequence[RetainForm]) -> dict[str, RetainSource]:
    """Return the files of the team's own, by their names."""
    return {one.name: one for one in retain if isinstance(one, RetainSource)}


def names_of(retain: Sequence[RetainForm]) -> tuple[str, ...]:
    """Return the names of everything that is retained, as scores have them after `retain.`."""
    return (*suites_of(retain), *sources_of(retain))


def listed_twice(retain: Sequence[RetainForm]) -> list[str]:
    """Return the names that are listed more than once; `all` lists every suite."""
    written = [one.name if isinstance(one, RetainSource) else one for one in retain]
    every = [*SUITES] if ALL in written else []
    listed = [*written, *every]
    return [name for name in dict.fromkeys(listed) if listed.count(name) > 1]
