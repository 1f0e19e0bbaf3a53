"""Metrics in a spec: `exact_match`, or `accuracy: {labels: [refund, price]}`.

The forms derive from the table of `controller.evaluate.metrics`: a metric is its name with its
settings, or its name alone if all its settings have defaults. Other packages add metrics; see
`controller.spec.metric_plugins`. The model of a form is made when a spec uses it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, create_model
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from backends.contract.inspector import Json
from backends.pydantic_errors import InvalidValue, OfForms
from controller.evaluate.answers import Answer
from controller.evaluate.metric import AnyMetric, Metric, MetricSettings
from controller.evaluate.metrics import MODULES, metric_called
from controller.spec.base import Strict
from controller.spec.metric_plugins import (
    BrokenPlugin,
    load_plugin,
    plugin_names,
    plugin_version,
)


@dataclass(frozen=True, slots=True)
class ChosenMetric(OfForms):
    """A metric that a spec asks for, with its settings."""

    metric: AnyMetric
    settings: MetricSettings
    plugin: str = field(default="")
    """Name and version of the package that adds the metric; empty for one of ftctl."""

    @property
    def name(self) -> str:
        """Name in gates and scores."""
        return self.settings.name or self.metric.name

    @property
    def inputs(self) -> Json:
        """Settings that decide the metric's number, for the evaluation's fingerprint.

        Settings with their default values are left out, so that a new setting with a default
        changes no fingerprint. The version of another package is one of the inputs, since it may
        score otherwise.
        """
        settings = self.settings.model_dump(mode="json", exclude_defaults=True)
        inputs: dict[str, Json] = {self.metric.name: settings}
        if self.metric.version:
            inputs["version"] = self.metric.version
        return {**inputs, "package": self.plugin} if self.plugin else inputs

    def prepared(self, references: Iterable[Answer]) -> "ChosenMetric":
        """Return the metric with its settings completed from the expected answers."""
        return replace(self, settings=self.metric.prepare(self.settings, references))

    @classmethod
    def forms(cls) -> list[type[BaseModel]]:
        """Return the models of `NAME: {SETTING: VALUE}`, of every metric."""
        return [metric_form(name) for name in metric_names()]

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, __: GetCoreSchemaHandler) -> CoreSchema:
        """Return a schema that validates by `_choose`."""
        return core_schema.with_info_plain_validator_function(cls._choose)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the union of all forms."""
        names = [name for name in metric_names() if _stands_alone(find_metric(name))]
        forms = []
        for form in cls.forms():
            form.model_rebuild()
            forms.append(handler(form.__pydantic_core_schema__))
        return {"oneOf": [{"enum": names, "type": "string"}, *forms]}

    @classmethod
    def _choose(cls, value: object, info: core_schema.ValidationInfo) -> "ChosenMetric":
        if isinstance(value, cls):
            return value
        name = _require_known(value)
        written = {name: {}} if isinstance(value, str) else value
        parsed = metric_form(name).model_validate(written, context=info.context)
        metric = find_metric(name)
        return cls(metric, getattr(parsed, name), plugin_version(name) if _is_foreign(name) else "")


def metric_names() -> list[str]:
    """Return the names of all metrics that a spec may add, those of other packages last."""
    return [*MODULES, *(name for name in plugin_names() if _is_foreign(name))]


def recorded_metric(name: str) -> Metric[Any] | None:
    """Return a metric that a lockfile names; None if its package is not here, or cannot be used."""
    try:
        return find_metric(name)
    except (BrokenPlugin, KeyError):
        return None


def find_metric(name: str) -> AnyMetric:
    """Return a metric that a spec may add.

    Raises:
        BrokenPlugin: The package of the metric cannot be used.
        KeyError: There is no such metric.
    """
    return load_plugin(name) if _is_foreign(name) else metric_called(name)


@cache
def metric_form(name: str) -> type[Strict]:
    """Return the model of `NAME: {SETTING: VALUE}`."""
    metric = find_metric(name)
    fields: Mapping[str, Any] = {name: (metric.settings, ...)}
    text = f"`{name}` with its settings."
    return create_model(
        f"{metric.settings.__name__}Metric", __base__=Strict, __doc__=text, **fields
    )


def _is_foreign(name: str) -> bool:
    return name not in MODULES


def _required(metric: AnyMetric) -> list[str]:
    """Return the settings of a metric that have no default."""
    fields = metric.settings.model_fields
    return [name for name, setting in fields.items() if setting.is_required()]


def _stands_alone(metric: AnyMetric) -> bool:
    """Return True if a metric can be written without settings."""
    try:
        metric.settings()
    except ValueError:
        return False
    return True


def _require_known(value: object) -> str:
    """Return the name of the metric that is written.

    Raises:
        PydanticCustomError: The metric does not exist.
        InvalidValue: The metric is not written in its form, or its package cannot be used.
    """
    names = [value] if isinstance(value, str) else list(value) if isinstance(value, dict) else []
    unknown = [name for name in names if name not in MODULES and name not in plugin_names()]
    if unknown or not names:
        expected = ", ".join(f"'{known}'" for known in metric_names())
        context = {"expected": expected, "given": unknown[0] if unknown else value}
        raise PydanticCustomError("literal_error", "unknown metric", context)
    if len(names) > 1:
        message = f"has {' and '.join(names)} in one item"
        raise InvalidValue(message, "Write each metric as an item of the list.")
    (name,) = names
    try:
        missing = _required(find_metric(name))
    except BrokenPlugin as error:
        raise InvalidValue(error.message, error.remedy) from None
    if isinstance(value, str) and missing:
        settings = ", ".join(f"{setting}: …" for setting in missing)
        raise InvalidValue(f"{name} needs settings", f"Write `{name}: {{{settings}}}`.")
    return str(name)
