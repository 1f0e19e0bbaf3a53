"""Metrics in a spec: `exact_match`, or `accuracy: {labels: [refund, price]}`.

The forms derive from the table of `controller.evaluate.metrics`: a metric is its name with its
settings, or its name alone if all its settings have defaults.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Annotated, Any, Final, TypeAlias

from pydantic import GetCoreSchemaHandler, ValidatorFunctionWrapHandler, create_model
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from backends.contract.inspector import Json
from backends.pydantic_errors import InvalidValue
from controller.evaluate.answers import Answer
from controller.evaluate.metric import AnyMetric, MetricSettings
from controller.evaluate.metrics import METRICS
from controller.spec.base import Strict


def _form(metric: AnyMetric) -> type[Strict]:
    """Return the model of `NAME: {SETTING: VALUE}`."""
    field: dict[str, Any] = {metric.name: (metric.settings, ...)}
    text = f"`{metric.name}` with its settings."
    return create_model(f"{metric.settings.__name__}Metric", __base__=Strict, __doc__=text, **field)


_BY_NAME: Final = {metric.name: metric for metric in METRICS}
_FORMS: Final = {metric.name: _form(metric) for metric in METRICS}


@dataclass(frozen=True, slots=True)
class ChosenMetric:
    """A metric that a spec asks for, with its settings."""

    metric: AnyMetric
    settings: MetricSettings

    @property
    def name(self) -> str:
        """Name in gates and scores."""
        return self.settings.name or self.metric.name

    @property
    def inputs(self) -> Json:
        """Settings that decide the metric's number, for the evaluation's fingerprint.

        Settings with their default values are left out, so that a new setting with a default
        changes no fingerprint.
        """
        return {self.metric.name: self.settings.model_dump(mode="json", exclude_defaults=True)}

    def prepared(self, references: Iterable[Answer]) -> "ChosenMetric":
        """Return the metric with its settings completed from the expected answers."""
        return replace(self, settings=self.metric.prepare(self.settings, references))

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the union of all forms, told apart by their names."""
        names = [name for name, metric in _BY_NAME.items() if not _required(metric)]
        forms = {f"<{name}>": handler.generate_schema(form) for name, form in _FORMS.items()}
        union = core_schema.tagged_union_schema(
            {"<name>": core_schema.literal_schema(names), **forms}, _tag
        )
        return core_schema.no_info_wrap_validator_function(cls._choose, union)

    @classmethod
    def _choose(cls, value: object, validate: ValidatorFunctionWrapHandler) -> "ChosenMetric":
        _require_known(value)
        parsed = validate(value)
        if isinstance(parsed, str):
            metric = _BY_NAME[parsed]
            return cls(metric, metric.settings())
        (name,) = type(parsed).model_fields
        return cls(_BY_NAME[name], getattr(parsed, name))


# The union is there for whoever walks the models to find their keys.
MetricForm: TypeAlias = Annotated[ChosenMetric, reduce(operator.or_, _FORMS.values())]
"""An item of `evaluation.metrics`."""


def _required(metric: AnyMetric) -> list[str]:
    """Return the settings of a metric that have no default."""
    fields = metric.settings.model_fields
    return [name for name, field in fields.items() if field.is_required()]


def _tag(value: object) -> str:
    """Return which form a value has: a name alone, or the settings of a metric."""
    names = value if isinstance(value, dict) else ()
    return next((f"<{name}>" for name in names if name in _FORMS), "<name>")


def _require_known(value: object) -> None:
    """Refuse a metric that does not exist, or that is not written in its form.

    Raises:
        PydanticCustomError: The metric does not exist.
        InvalidValue: Settings are missing.
    """
    names = [value] if isinstance(value, str) else value if isinstance(value, dict) else []
    for name in names:
        if name not in _BY_NAME:
            expected = ", ".join(f"'{known}'" for known in _BY_NAME)
            context = {"expected": expected, "given": name}
            raise PydanticCustomError("literal_error", "unknown metric", context)
        missing = _required(_BY_NAME[name])
        if isinstance(value, str) and missing:
            settings = ", ".join(f"{setting}: …" for setting in missing)
            raise InvalidValue(f"{name} needs settings", f"Write `{name}: {{{settings}}}`.")
    if isinstance(value, dict) and len(value) > 1:
        message = f"has {' and '.join(value)} in one item"
        raise InvalidValue(message, "Write each metric as an item of the list.")
