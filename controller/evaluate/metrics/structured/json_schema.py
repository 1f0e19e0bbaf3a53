"""`json_schema`: how often an answer has the form that a JSON Schema asks for."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from pydantic import ConfigDict, JsonValue, ValidationInfo, model_validator

from backends.pydantic_errors import InvalidValue
from controller.evaluate.metric import AnsweredExample, MetricSettings, proportion
from controller.evaluate.metrics.structured.parse import NOT_JSON, READ_JSON, Parsed, parsed
from controller.extras import import_extra
from controller.spec.base import NonEmpty

_CHECKER: Final = "controller.evaluate.metrics.structured.schema_checker"


class JsonSchema(MetricSettings):
    """Share of answers that are JSON of the form that a JSON Schema asks for.

    `json_field` compares the values. Examples that expect a tool call do not count.
    """

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["inline"]}, {"required": ["file"]}]}
    )

    inline: dict[str, JsonValue] | None = None
    """The schema itself."""
    file: NonEmpty | None = None
    """Path of a file with the schema, from the spec's folder; instead of `inline`."""

    @model_validator(mode="after")
    def _has_one_schema(self, info: ValidationInfo) -> "JsonSchema":
        """Return settings with the schema that `file` has, so that its content is measured by."""
        if (self.inline is None) == (self.file is None):
            message = "needs a schema" if self.inline is None else "has two schemas"
            remedy = "Write either `file: schemas/answer.json` or `inline: {type: object, …}`."
            raise InvalidValue(message, remedy)
        if self.file is None:
            return self
        read: Callable[[str], object] | None = (info.context or {}).get(READ_JSON)
        if read is None:
            raise InvalidValue("no file is read here", "Write the schema in `inline`.", "file")
        content = read(self.file)
        if not isinstance(content, dict):
            raise InvalidValue("must hold a JSON object", "Write a JSON Schema into it.", "file")
        return self.model_copy(update={"inline": content, "file": None})


def _validator(settings: JsonSchema) -> Callable[[Parsed], bool]:
    module = import_extra(_CHECKER, extra="evaluate", what="json_schema")
    is_valid: Callable[[Parsed], bool] = module.SchemaChecker(settings.inline).is_valid
    return is_valid


def _fit(settings: JsonSchema, examples: Sequence[AnsweredExample]) -> list[bool | None]:
    is_valid = _validator(settings)
    return [None if one.expected.calls else _fits(is_valid, one.given.text) for one in examples]


def _fits(is_valid: Callable[[Parsed], bool], text: str) -> bool:
    value = parsed(text)
    return value is not NOT_JSON and is_valid(value)


def _require_ready(settings: JsonSchema) -> None:
    _validator(settings)


METRIC = replace(proportion("json_schema", JsonSchema, _fit), require_ready=_require_ready)
