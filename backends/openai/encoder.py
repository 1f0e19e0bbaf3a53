"""How a server's model reads examples: its encoding, and what the service would refuse.

The door to the encodings: they are opened in the process that counts.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from backends.base import BackendError
from backends.encoder import Json, Limits, Piece
from backends.openai.endpoints import INSTALL


@dataclass(frozen=True, kw_only=True)
class OpenAIEncoder:
    """Implements `Encoder`; see there for what each method promises."""

    model: str
    method: str

    @property
    def identity(self) -> str:
        """What the counts depend on."""
        return f"openai:{self.model}:{self.method}"

    @property
    def limits(self) -> Limits:
        """What the service accepts of a dataset as a whole."""
        return Limits()

    def count(self, examples: Sequence[Mapping[str, Json]]) -> list[int]:
        """Return how many tokens each example is billed as, for one epoch."""
        return [self._count(example) for example in examples]

    def check(self, example: Mapping[str, Json]) -> None:
        """Check what the service would refuse much later."""

    def show(self, example: Mapping[str, Json]) -> list[Piece]:
        """Return an example token by token."""
        raise BackendError("this example cannot be shown")

    def warnings(self) -> list[str]:
        """Say what a person should know of this model before it is trained."""
        return []

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _count(self) -> Any:  # noqa: ANN401 - of a module that needs the extra's packages
        return open_tokens().counter(self.model)


def open_tokens() -> Any:  # noqa: ANN401 - a module of the extra's packages
    """Return the module that counts.

    Raises:
        BackendError: Its package is not installed.
    """
    try:
        return importlib.import_module("backends.openai.tokens")
    except ImportError as error:
        raise BackendError(f"counting tokens needs the package {error.name}", INSTALL) from error
