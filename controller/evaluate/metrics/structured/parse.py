"""JSON in an answer. Pure."""

import json
from typing import Final, TypeAlias

from backends.contract.inspector import Json
from controller.canonical import canonical_json

READ_JSON: Final = "read_json"
"""Key in the context of a spec's validation: reads a JSON file by its path from the spec."""
READ_YAML: Final = "read_yaml"
"""Key in the same context: reads a YAML file; returns its value, and the line of a path in it."""


class NotJson:
    """Stands for a text that is not JSON."""


NOT_JSON: Final = NotJson()
Parsed: TypeAlias = "Json | NotJson"


def parsed(text: str) -> Parsed:
    """Return the value of a text that is JSON as RFC 8259 has it; `NOT_JSON` for another text."""
    try:
        value: Json = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return NOT_JSON
    return value


def canonical(value: Json) -> bytes | None:
    """Return the canonical bytes of a parsed value; None if it has none.

    1e999 is JSON and no finite number, and a list in a list in a list … can be too deep.
    """
    try:
        return canonical_json(value)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> Json:
    raise ValueError(f"{constant} is not JSON")
