"""The JSON Schema of a spec."""

from typing import Any

from controller.spec.model import Spec


def spec_schema() -> dict[str, Any]:
    """Return the schema, as editors and `check-jsonschema` read it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Spec.model_json_schema(),
        "title": "ftctl fine-tune",
    }
