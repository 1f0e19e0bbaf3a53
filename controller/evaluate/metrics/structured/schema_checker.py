"""Validators of JSON Schema. Imported only through the door to the extra `evaluate`.

Schemas of elsewhere are not fetched, and a pattern is given up after a fixed number of steps.
"""

from typing import Any, NoReturn

import jsonschema_rs

from controller.errors import FtctlError
from controller.evaluate.metrics.structured.parse import Parsed

_STEPS = 1_000_000


class SchemaChecker:
    """A checked JSON Schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """Check a schema.

        Args:
            schema: The schema, as JSON.

        Raises:
            FtctlError: It is not a JSON Schema, or asks for a schema of elsewhere.
        """
        try:
            jsonschema_rs.meta.validate(schema)
            self._validator = jsonschema_rs.validator_for(
                schema,
                retriever=_refuse,
                pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_STEPS),
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise FtctlError(f"not a JSON Schema: {reason}", "Correct the schema.") from None

    def is_valid(self, value: Parsed) -> bool:
        """Return True if a value has the schema's form."""
        try:
            return self._validator.is_valid(value)
        except ValueError:
            return False


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is elsewhere: put it into the schema, below $defs")
