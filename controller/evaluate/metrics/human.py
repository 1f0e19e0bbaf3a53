"""`human`: what people think of answers, from a sheet that they fill in."""

from pydantic import Field, field_validator

from controller.evaluate.metric import Metric, MetricSettings, Sheet, unknown
from controller.evaluate.metrics.scale import DEFAULT_SCALE, Scale, check_scale
from controller.spec.base import NonEmpty


class Human(MetricSettings):
    """Mean score that people gave the answers.

    `ftctl evaluate NAME --sheet FILE` writes the sheet that they fill in.
    """

    sheet: NonEmpty
    """The sheet: a .csv or .jsonl, relative to the spec's folder. Without it, or without a score in
    it, nothing is measured."""
    scale: Scale = Field(default=DEFAULT_SCALE)
    """Lowest and highest score."""

    @field_validator("scale")
    @classmethod
    def _has_two_ends(cls, scale: list[float]) -> list[float]:
        return check_scale(scale)


METRIC = Metric(
    name="human",
    settings=Human,
    tally=unknown,
    higher_is_better=True,
    sheet=Sheet(
        path=lambda settings: settings.sheet,
        scale=lambda settings: (settings.scale[0], settings.scale[1]),
    ),
)
