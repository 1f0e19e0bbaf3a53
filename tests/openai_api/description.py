"""The official description of the OpenAI API, read as JSON Schema."""

from functools import cache
from pathlib import Path

import jsonschema
import yaml

FILE = Path(__file__).with_name("openapi.yaml")


@cache
def description() -> dict:
    """Return the whole document, with the words of OpenAPI 3.0 rewritten."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return modern(yaml.load(FILE.read_text(encoding="utf-8"), Loader=loader))


def modern(value):
    """Write what is older than JSON Schema 2020-12 as that does; the file mixes both."""
    if isinstance(value, list):
        return [modern(item) for item in value]
    if not isinstance(value, dict):
        return value
    new = {key: modern(item) for key, item in value.items()}
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(new.get(bound), bool) and new.pop(bound):
            new[bound] = new.pop(limit)
    if new.pop("nullable", False):
        new = {"anyOf": [new, {"type": "null"}]}
    return new


def named(name: str) -> dict:
    """Return the schema of a name."""
    return {"$ref": f"#/components/schemas/{name}"}


def errors(value, schema: dict) -> list[str]:
    """Return how a value breaks a schema, each with its place."""
    whole = {"components": description()["components"], **schema}
    found = jsonschema.Draft202012Validator(whole).iter_errors(value)
    return [f"{'.'.join(map(str, one.absolute_path))}: {one.message}" for one in found]
