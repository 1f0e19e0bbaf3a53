"""Valid values of a JSON Schema, so that the corpus always has every key of the schema."""

import random
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from controller.spec.base import Strict
from tests.fuzz.values import OF_HYPERPARAMETERS, SAMPLES

TRIES = 1_000
"""Maximum draws until a value meets the rules between keys, which no schema states."""


_DENSITIES = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Shares of the optional keys that a value has."""
_PLAIN = {"boolean": [True, False], "number": [0.5, 0.6, 0.9]}


class Corpus:
    """Valid values of a pydantic model: for each key of its schema, a value with the key."""

    def __init__(self, model: type[BaseModel], rng: random.Random) -> None:
        """Draw the values."""
        self._model = model
        self._schema = model.model_json_schema()
        self._rng = rng
        self._wanted: tuple[str, ...] = ()
        self._density = 0.2
        self.keys = sorted(set(self._keys(self._schema, ())))
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
        forms = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
        forms = [form for form in forms if form.get("type") != "null"]
        if forms:
            return self._drawn(rng.choice(forms), path, key)
        if "enum" in schema or "const" in schema:
            return rng.choice(schema.get("enum") or [schema["const"]])
        match schema.get("type"):
            case "object":
                return self._object(schema, path)
            case "array":
                count = max(schema.get("minItems", 0), rng.choice([1, 1, 2]))
                return [self._drawn(schema["items"], path, key) for _ in range(count)]
            case "string":
                return rng.choice(SAMPLES.get(key, ["text"]))
            case "integer":
                return max(schema.get("minimum", 0), rng.choice([0, 1, 8, 120]))
        return rng.choice(
            _PLAIN.get(schema.get("type", ""), ["text", 1, 0.5, True, ["a"], {"a": 1}])
        )

    def _object(self, schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        """Draw an object until it meets its own rules: a whole value rarely meets all rules."""
        if "properties" not in schema:
            below = schema.get("additionalProperties", {})
            return {name: self._drawn(below, path, name) for name in ["team", "eu"]}
        model = _models().get(schema.get("title", ""))
        for _ in range(TRIES if path else 1):
            self._density = self._rng.choice(_DENSITIES)
            value = self._drawn_once(schema, path)
            if model is None or not path or _fits(model, value):
                return value
        return value

    def _drawn_once(self, schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        value = {}
        density = self._density
        for key, below in schema["properties"].items():
            here = (*path, key)
            is_wanted = self._wanted[: len(here)] == here
            is_drawn = key in schema.get("required", ()) or self._rng.random() < density
            if is_wanted or is_drawn:
                value[key] = self._drawn(below, here, key)
        return value


def _models(of: type[BaseModel] = Strict) -> dict[str, type[BaseModel]]:
    """Return the models by name, those of metrics that were named so far among them."""
    found = {one.__name__: one for one in of.__subclasses__()}
    return {name: model for one in found.values() for name, model in _models(one).items()} | found


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
