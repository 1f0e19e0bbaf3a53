"""`promptfoo`: how often an answer passes all its assertions of a promptfoo configuration."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ConfigDict, JsonValue, ValidationInfo, model_validator

from backends.contract.completions import text_of
from backends.excerpt import dotted
from backends.pydantic_errors import InvalidValue
from controller.evaluate.metric import AnsweredExample, MetricSettings, proportion
from controller.evaluate.metrics.promptfoo.assertions import (
    Assertion,
    Assertions,
    read_assertions,
    reduced,
)
from controller.evaluate.metrics.structured.parse import READ_YAML
from controller.spec.base import NonEmpty


class Promptfoo(MetricSettings):
    """Share of answers that pass all assertions of a promptfoo configuration.

    Read are `equals`, `contains`, `icontains` and their `-all` and `-any` forms, `starts-with`,
    `regex`, `is-json`, and each with `not-` in front. Those of `defaultTest` are for every example,
    those of a test for the examples with its question. An example without any does not count.
    """

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["inline"]}, {"required": ["file"]}]}
    )

    inline: dict[str, JsonValue] | None = None
    """The parts `defaultTest` and `tests` of a configuration."""
    file: NonEmpty | None = None
    """Path of the configuration, from the spec's folder; instead of `inline`."""
    question: NonEmpty = "question"
    """Variable of a test that holds the question; it is compared with the last user message."""

    @model_validator(mode="after")
    def _has_assertions(self, info: ValidationInfo) -> "Promptfoo":
        """Return settings with the assertions that `file` has, so that its content is measured by."""
        if (self.inline is None) == (self.file is None):
            what = "needs assertions" if self.inline is None else "has two configurations"
            remedy = "Write either `file: promptfooconfig.yaml` or `inline: {defaultTest: …}`."
            raise InvalidValue(what, remedy)
        if self.inline is not None:
            self._read_inline()
            return self
        return self.model_copy(update={"inline": self._read_file(info), "file": None})

    def _read_inline(self) -> None:
        try:
            read_assertions(self.inline or {}, self.question)
        except InvalidValue as error:
            raise InvalidValue(str(error), error.remedy, "inline", *error.at) from None

    def _read_file(self, info: ValidationInfo) -> dict[str, Any]:
        read: Callable[[str], tuple[object, Callable[[tuple[str | int, ...]], int | None]]] | None
        read = (info.context or {}).get(READ_YAML)
        if read is None or self.file is None:
            raise InvalidValue("no file is read here", "Write the tests in `inline`.", "file")
        content, line_of = read(self.file)
        if not isinstance(content, dict):
            remedy = "Write a promptfoo configuration into it."
            raise InvalidValue(f"{self.file} must hold a mapping", remedy, "file")
        try:
            read_assertions(content, self.question)
        except InvalidValue as error:
            where = ":".join(map(str, filter(None, (self.file, line_of(error.at)))))
            field = f"{dotted(error.at)}: " if error.at else ""
            raise InvalidValue(f"{where}: {field}{error}", error.remedy, "file") from None
        return reduced(content)


def _pass(settings: Promptfoo, examples: Sequence[AnsweredExample]) -> list[bool | None]:
    assertions = read_assertions(settings.inline or {}, settings.question)
    results: list[bool | None] = [None] * len(examples)
    for assertion, places in _places(assertions, examples):
        held = assertion.holds([examples[place].given.text for place in places])
        for place, holds in zip(places, held, strict=True):
            results[place] = holds and results[place] is not False
    for place, one in enumerate(examples):
        # An answer without a call is wrong where a call is expected.
        if results[place] is not None and one.expected.calls and not one.given.calls:
            results[place] = False
    return results


def _places(
    assertions: Assertions, examples: Sequence[AnsweredExample]
) -> list[tuple[Assertion, list[int]]]:
    """Return each assertion with the places of the examples that it is for."""
    found: dict[int, tuple[Assertion, list[int]]] = {}
    for place, example in enumerate(examples):
        for one in assertions.of(_question(example)):
            found.setdefault(id(one), (one, []))[1].append(place)
    return list(found.values())


def _question(example: AnsweredExample) -> str:
    asked = [one for one in example.question if one.get("role") == "user"]
    return text_of(asked[-1]).strip() if asked else ""


def _require_ready(settings: Promptfoo) -> None:
    """Raise an error if a schema is wrong, or its package is missing."""
    assertions = read_assertions(settings.inline or {}, settings.question)
    for some in (assertions.always, *assertions.by_question.values()):
        for one in some:
            if one.kind == "is-json":
                one.holds(["{}"])


METRIC = replace(proportion("promptfoo", Promptfoo, _pass), require_ready=_require_ready)
