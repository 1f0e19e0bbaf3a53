"""The parts of `ftctl help` topics that are written from the code: `make topics`.

Keys come from pydantic models (types, limits, defaults and texts), exit codes from the texts of
`ExitCode`. In a topic's file, everything below `MARK` is such a part.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from backends.launchers.ray.settings import RaySettings
from backends.launchers.slurm.settings import SlurmSettings
from backends.local_gpu import hyperparameters as local
from backends.openai import hyperparameters as openai
from backends.openai.profiles.profile import PROFILES, Deploy, Profile
from controller import errors
from controller.evaluate.metric import AnyMetric
from controller.evaluate.metrics import BUILT_IN_METRICS, all_metrics
from controller.evaluate.retain.items import count_items
from controller.evaluate.retain.suites import SUITES
from controller.help import FOLDER
from controller.server.chat.chat_parameters import HARMLESS, UNSUPPORTED, ChatRequest
from controller.spec.base import MOST
from controller.spec.evaluation import Evaluation
from controller.spec.model import Spec
from controller.spec.settings import Settings

MARK = "<!-- Written by `make topics` from here on. -->"
WIDTH = 96

_TYPES = {"string": "text", "integer": "whole number", "number": "number"}


def keys_of(model: type[BaseModel], place: str = "") -> str:
    """Return the keys of a model as Markdown: a section for each mapping, an item for each key.

    Args:
        model: The model of a file, or of a part of it.
        place: Path of that part in the file: `evaluation`; empty for the whole file.
    """
    schema = model.model_json_schema()
    return "\n\n".join(_Keys(schema.get("$defs", {})).sections(place, schema))


class _Keys:
    """Sections from one JSON Schema. A mapping that several keys hold is written once."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._places: dict[str, str] = {}
        """Where a definition was written, by its name."""

    def sections(self, place: str, schema: Mapping[str, Any]) -> Iterator[str]:
        """Yield the section of a mapping, then those of the mappings in it."""
        inner: list[tuple[str, Mapping[str, Any]]] = []
        items = [self._item(place, key, schema, inner) for key in schema["properties"]]
        heading = f"### `{place}`\n\n" if place else ""
        text = " ".join(schema.get("description", "").split()) if place else ""
        yield heading + (f"{_wrap(text)}\n\n" if text else "") + "\n".join(items)
        for inner_place, inner_schema in inner:
            yield from self.sections(inner_place, inner_schema)

    def _item(self, place: str, key: str, schema: Mapping[str, Any], inner: list[Any]) -> str:
        field = schema["properties"][key]
        facts = [_either(self._forms(field, f"{place}.{key}".lstrip("."), inner))]
        default = field.get("default")
        if key in schema.get("required", ()):
            facts.append("required")
        elif default not in (None, "", []) and not isinstance(default, dict):
            facts.append(f"default {_value(default)}")
        text = " ".join(self._text(field).split())
        return _wrap(f"- `{key}` ({'; '.join(facts)}): {text}", indent="  ")

    def _text(self, field: Mapping[str, Any]) -> str:
        """Return a field's text; pydantic leaves it out where it is that of the field's model."""
        if "$ref" in field and "description" not in field:
            return self._text(self._definition(field))
        return str(field.get("description", ""))

    def _definition(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._definitions[schema["$ref"].rpartition("/")[2]]
        return found

    def _forms(self, schema: Mapping[str, Any], place: str, inner: list[Any]) -> list[str]:
        """Return what a value may be, in words; collect the mappings that need a section."""
        if "$ref" in schema or "properties" in schema:
            return [self._mapping(schema, place, inner)]
        if "const" in schema or "enum" in schema:
            return [_value(value) for value in schema.get("enum", [schema.get("const")])]
        if forms := schema.get("anyOf", schema.get("oneOf")):
            words = [word for form in forms for word in self._forms(form, place, inner)]
            # What may stand alone needs no second mention: `accuracy`, `{accuracy: …}`.
            return [word for word in words if f"`{word[2:].partition(':')[0]}`" not in words]
        match schema.get("type"):
            case "null":
                return []
            case "array":
                words = _either(self._forms(schema["items"], f"{place}[]", inner))
                return [f"list of {_several(words)}"]
            case "object":
                values = self._forms(schema["additionalProperties"], f"{place}.NAME", inner)
                return [f"mapping of names to {_several(_either(values))}"]
            case "boolean":
                return ["`true`", "`false`"]
            case kind:
                return [f"{_TYPES[str(kind)]}{_range(schema)}"]

    def _mapping(self, schema: Mapping[str, Any], place: str, inner: list[Any]) -> str:
        definition = self._definition(schema) if "$ref" in schema else schema
        keys = definition.get("properties", {})
        if not keys:
            return "values"
        ((key, value), *others) = keys.items()
        if not others and "$ref" in value:
            # A form such as `{accuracy: {labels: [...]}}`: the settings alone need a section, if
            # they have more than what all have.
            if set(self._definition(value)["properties"]) != {"name"}:
                self._mapping(value, f"{place}.{key}", inner)
            return f"`{{{key}: …}}`"
        name = definition["title"]
        if name in self._places:
            return f"mapping as in `{self._places[name]}`"
        self._places[name] = place
        inner.append((place, definition))
        return "mapping"


def _value(value: object) -> str:
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, list):
        return f"`[{', '.join(map(str, value))}]`"
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    return f"`{json.dumps(number)}`"


def _range(schema: Mapping[str, Any]) -> str:
    """Return the limits of a number in words: ` from 1 to 50`."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if schema["type"] == "integer" and "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - 1
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high not in (None, MOST):
        return f" from {_plain(low)} to {_plain(high)}"
    words = [
        f"{word} {_plain(limit)}"
        for word, limit in (
            ("at least", low),
            ("more than", above),
            ("at most", None if high == MOST else high),
            ("less than", below),
        )
        if limit is not None
    ]
    return f" {' and '.join(words)}" if words else ""


def _plain(number: float) -> str:
    return f"{int(number):,}" if float(number).is_integer() else f"{number}"


def _either(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _several(words: str) -> str:
    """Return a type's words in the plural, where they have one: `mappings as in …`."""
    return words.replace("mapping", "mappings", 1) if words.startswith("mapping") else words


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text,
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def chat_parameters() -> str:
    """Return what `ftctl serve` does with each parameter of a chat request."""
    refused = [name for name, neutral in UNSUPPORTED.items() if not neutral]
    neutral = [
        f"`{name}` ({_either([_value(one) for one in values])})"
        for name, values in sorted(UNSUPPORTED.items())
        if values and name not in ChatRequest.model_fields
    ]
    partly = sorted(UNSUPPORTED.keys() & ChatRequest.model_fields.keys())
    honoured = sorted(ChatRequest.model_fields.keys() - set(partly))
    groups = {
        "Honoured": ", ".join(map(_value, honoured)),
        "Honoured where it is as here, else refused": ", ".join(
            f"`{name}` ({_either([_value(one) for one in UNSUPPORTED[name]])})" for name in partly
        ),
        "Ignored, and named by the header `x-ftctl-ignored`": ", ".join(
            map(_value, sorted(HARMLESS))
        ),
        "Accepted with the value that changes nothing, else refused": ", ".join(neutral),
        "Refused": ", ".join(map(_value, sorted(refused))),
    }
    return "\n".join(_wrap(f"- {title}: {names}.", indent="  ") for title, names in groups.items())


def exit_codes() -> str:
    """Return every exit code with its text, which stands below it in the source."""
    (body,) = (
        node.body
        for node in ast.parse(inspect.getsource(inspect.getmodule(errors.ExitCode))).body
        if isinstance(node, ast.ClassDef) and node.name == "ExitCode"
    )
    items = []
    for code, text in zip(body[1::2], body[2::2], strict=True):
        number = getattr(errors.ExitCode, code.targets[0].id)
        items.append(_wrap(f"- `{number:d}`: {' '.join(text.value.value.split())}", indent="  "))
    return "\n".join(items)


def by_title(models: Mapping[str, type[BaseModel]]) -> str:
    """Return the keys of several models, each below its title."""
    return "\n\n".join(f"### {title}\n\n{keys_of(model)}" for title, model in models.items())


def _always(metric: AnyMetric) -> str:
    if metric not in BUILT_IN_METRICS:
        return ""
    return "measured with `dpo` and `kto`; " if metric.is_of_preferences else "always measured; "


def metrics() -> str:
    """Return every metric with its text, then the keys of the section that chooses them."""
    items = [
        _wrap(
            f"- `{metric.name}` ({_always(metric)}"
            f"{'higher' if metric.higher_is_better else 'lower'} is better): "
            f"{' '.join(metric.description.split())}",
            indent="  ",
        )
        for metric in (*BUILT_IN_METRICS, *all_metrics())
    ]
    suites = [
        _wrap(f"- `{name}` ({count_items(name)} prompts): {suite.words}.", indent="  ")
        for name, suite in SUITES.items()
    ]
    keys = keys_of(Evaluation, "evaluation")
    parts = {"Every metric": items, "Every suite of `retain`": suites, "Keys": [keys]}
    return "\n\n".join(f"## {title}\n\n" + "\n".join(lines) for title, lines in parts.items())


def servers() -> str:
    """Return kinds of servers, the hyperparameters, and the parameters of chat requests."""
    items = [_wrap(f"- `{kind}`: {_of_kind(profile)}", "  ") for kind, profile in PROFILES.items()]
    kinds = "\n".join(["### Kinds of servers", "", *items])
    title = "## Parameters of chat requests\n\nOf `ftctl serve`. `null` is always accepted."
    return f"{kinds}\n\n{by_title(openai.REFERENCE)}\n\n{title}\n\n{chat_parameters()}"


def _of_kind(profile: Profile) -> str:
    facts = [profile.about]
    if profile.base_url is not None:
        facts.append(f"Its address is `{profile.base_url}`.")
    if profile.methods != openai.METHODS:
        facts.append(f"It trains with {_either([f'`{one}`' for one in sorted(profile.methods)])}.")
    if profile.takes_rate:
        facts.append("It takes the learning rate itself.")
    if profile.api is not None:
        facts.append(
            "`account` names the account. A job has the ID that ftctl makes from its fingerprint and "
            "attempt, and is recognised by it."
        )
    elif not profile.metadata:
        facts.append(
            "A job carries no metadata, and is recognised by file, model, seed, settings and suffix."
        )
    if not profile.tracking:
        facts.append("It has no `tracking`.")
    if profile.result is not None:
        facts.append("The newest checkpoint is the model, and the build records its files.")
    if profile.deploy is not None:
        facts += _deployment(profile.deploy)
    if profile.undocumented:
        facts.append(f"Not documented: {'; '.join(profile.undocumented)}.")
    return " ".join(facts)


def _deployment(deploy: Deploy) -> Iterator[str]:
    yield f"A trained model does not answer at once. {deploy.how}."
    if deploy.api is not None:
        needs = ", ".join(f"`{name}`" for name in deploy.api.needs)
        yield f"Or write `deploy`{f', with {needs}' if needs else ''}."


PARTS: Mapping[str, Callable[[], str]] = {
    "spec": lambda: keys_of(Spec),
    "metrics": metrics,
    "training": lambda: by_title(local.REFERENCE),
    "servers": servers,
    "settings": lambda: keys_of(Settings),
    "machines": lambda: by_title(
        {"Keys of `launcher: ray`": RaySettings, "Keys of `launcher: slurm`": SlurmSettings}
    ),
    "exit-codes": exit_codes,
}
"""The written part of each topic that has one."""


def current(name: str) -> str:
    """Return a topic's file as it should be."""
    by_hand, mark, _ = (FOLDER / f"{name}.md").read_text(encoding="utf-8").partition(f"{MARK}\n")
    assert mark, f"{name}.md lacks the line {MARK}"
    return f"{by_hand}{mark}\n{PARTS[name]()}\n"


if __name__ == "__main__":
    for topic in PARTS:
        (FOLDER / f"{topic}.md").write_text(current(topic), encoding="utf-8")
