"""Valid values of a JSON Schema, so that the corpus always has every key of the schema."""

import random
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from controller.spec.base import Strict
from tests.fuzz.values import OF_HYPERPARAMETERS, OF_METRICS, SAMPLES

TRIES = 1_000
"""Maximum draws until a value meets the rules between keys, which no schema states."""
_TRIES_BELOW = 12
"""The same for an object within a value: whatever its rules, the whole is drawn again."""


_DENSITIES = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Shares of the optional keys that a value has."""
_PLAIN = {"boolean": [True, False], "number": [0.5, 0.6, 0.9]}


class Corpus:
    """Valid values of a pydantic model: for each key of its schema, a value with the key."""

    def __init__(self, model: type[BaseModel], rng: random.Random) -> None:
        """Draw the values."""
        self._model = model
        self._schema = model.model_json_schema()
        # The schema names every metric, whose models are made then.
        self._models = _models()
        self._rng = rng
        self._wanted: tuple[str, ...] = ()
        self._density = 0.2
        keys = set(self._keys(self._schema, ()))
        self.keys = sorted(key for key in keys if not _is_of_file(key) and _is_drawn(key))
        self.values = [self._with(key) for key in self.keys]

    def _keys(self, schema: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        schema = self._followed(schema)
        for form in [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
            yield from self._keys(form, path)
        if isinstance(schema.get("items"), dict):
            yield from self._keys(schema["items"], path)
        for key, below in schema.get("properties", {}).items():
            yield (*path, key)
            yield from self._keys(below, (*path, key))

    def _with(self, wanted: tuple[str, ...]) -> Any:
        self._wanted = wanted
        for _ in range(TRIES):
            value = self._drawn(self._schema, (), "")
            if _fits(self._model, value) and _has(value, wanted):
                return value
        raise AssertionError(
            f"no valid value with {'.'.join(wanted)} was found: name a sample of it"
        )

    def _followed(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self._schema["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        return schema

    def _drawn(self, schema: dict[str, Any], path: tuple[str, ...], key: str) -> Any:
        rng, schema = self._rng, self._followed(schema)
        if key == "hyperparameters":
            chosen = rng.sample(sorted(OF_HYPERPARAMETERS), rng.randint(0, 3))
            return {name: OF_HYPERPARAMETERS[name] for name in chosen}
        if key in OF_METRICS:
            return OF_METRICS[key]
        forms = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
        forms = [form for form in forms if form.get("type") != "null"]
        if forms and "properties" not in schema:
            return self._drawn(rng.choice(self._leading_on(forms, path)), path, key)
        if "enum" in schema or "const" in schema:
            return rng.choice(schema.get("enum") or [schema["const"]])
        match schema.get("type"):
            case "object":
                return self._object(schema, path)
            case "array":
                count = max(schema.get("minItems", 0), rng.choice([1, 1, 2]))
                return [self._drawn(schema["items"], path, key) for _ in range(count)]
            case "string" if schema.get("format") == "date":
                return "2027-01-14"
            case "string":
                return rng.choice(SAMPLES.get(key, ["text"]))
            case "integer":
                return max(schema.get("minimum", 0), rng.choice([0, 1, 8, 120]))
        return rng.choice(
            _PLAIN.get(schema.get("type", ""), ["text", 1, 0.5, True, ["a"], {"a": 1}])
        )

    def _leading_on(
        self, forms: list[dict[str, Any]], path: tuple[str, ...]
    ) -> list[dict[str, Any]]:
        """Return the forms that have the next key of the wanted path; all forms if none has."""
        if self._wanted[: len(path)] != path or len(self._wanted) == len(path):
            return forms
        following = self._wanted[len(path)]
        # Lists have no key of their own.
        inner = (self._followed(self._followed(form).get("items", form)) for form in forms)
        pairs = zip(forms, inner, strict=True)
        return [form for form, one in pairs if following in one.get("properties", {})] or forms

    def _object(self, schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        """Draw an object until it meets its own rules: a whole value rarely meets all rules."""
        if "properties" not in schema:
            below = schema.get("additionalProperties", {})
            return {name: self._drawn(below, path, name) for name in ["team", "eu"]}
        model = self._models.get(schema.get("title", ""))
        for _ in range(_TRIES_BELOW if path else 1):
            self._density = self._rng.choice(_DENSITIES)
            value = self._drawn_once(schema, path)
            if model is None or not path or _fits(model, value):
                return value
        return value

    def _drawn_once(self, schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        value = {}
        density = self._density
        required = [*schema.get("required", ())]
        if "oneOf" in schema:
            required += self._rng.choice(schema["oneOf"]).get("required", ())
        for key, below in schema["properties"].items():
            here = (*path, key)
            is_wanted = self._wanted[: len(here)] == here
            is_drawn = key in required or self._rng.random() < density
            if is_wanted or is_drawn:
                value[key] = self._drawn(below, here, key)
        return value


def _is_of_file(key: tuple[str, ...]) -> bool:
    """Return True for the file of a metric, which is valid only beside a repository's files."""
    return key[-1] == "file" and "metrics" in key


def _is_drawn(key: tuple[str, ...]) -> bool:
    """Return False for keys within a metric of which only a sample is known.

    Metrics of what is retained are those of the section.
    """
    is_retained = key[:3] == ("evaluation", "retain", "metric") and len(key) > len(key[:3])
    return not is_retained and not any(name in OF_METRICS for name in key[:-1])


def _models(of: type[BaseModel] = Strict) -> dict[str, type[BaseModel]]:
    """Return the models by name."""
    found = {}
    for one in of.__subclasses__():
        found |= {one.__name__: one, **_models(one)}
    return found


def _has(value: Any, path: tuple[str, ...]) -> bool:
    if isinstance(value, list):
        return any(_has(item, path) for item in value)
    return not path or (
        isinstance(value, dict) and path[0] in value and _has(value[path[0]], path[1:])
    )


def _fits(model: type[BaseModel], value: Any) -> bool:
    try:
        model.model_validate(value)
    except ValidationError:
        return False
    return True
