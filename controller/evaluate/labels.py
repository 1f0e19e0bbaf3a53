"""Labels: short answers that are compared as classes. Pure."""

from collections.abc import Iterable
from typing import TypeVar

from controller.evaluate.answers import Answer
from controller.evaluate.metric import MetricSettings
from controller.spec.base import NonEmpty


class LabelSettings(MetricSettings):
    """Settings of a metric of labels."""

    labels: list[NonEmpty] | None = None
    """The labels; taken from the held-out set when absent."""


LabelSettingsT = TypeVar("LabelSettingsT", bound=LabelSettings)


def label_of(text: str) -> str:
    """Return a label as it is compared: without case and blanks around it."""
    return text.strip().casefold()


def labels_of(references: Iterable[Answer]) -> list[str]:
    """Return the labels among expected answers, in order of appearance; calls are no labels."""
    return list(dict.fromkeys(label_of(one.text) for one in references if not one.calls))


def unlabelled(settings: LabelSettings, references: Iterable[Answer]) -> list[str]:
    """Return the expected texts that are not among the labels of the spec."""
    if not settings.labels:
        return []
    labels = {label_of(text) for text in settings.labels}
    texts = (answer.text.strip() for answer in references if not answer.calls)
    return [text for text in texts if label_of(text) not in labels]


def with_labels(settings: LabelSettingsT, references: Iterable[Answer]) -> LabelSettingsT:
    """Return settings with the labels of the held-out set, if they name none."""
    if settings.labels:
        return settings
    return settings.model_copy(update={"labels": labels_of(references)})
