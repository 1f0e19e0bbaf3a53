"""How a local model reads examples, for whoever builds a dataset.

The door to the tokenizer: it is opened in the process that counts, and never travels between
processes. What needs no tokenizer needs no package of the extra either.
"""

import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from backends.base import BackendError, BaseModel
from backends.encoder import Json, Limits, Piece
from backends.local_gpu.base_models import tokenizer_folder

VERSION: Final = 1
"""Raised whenever the same files would be counted otherwise."""
INSTALL: Final = "pip install 'ftctl[local]'"


@dataclass(frozen=True, kw_only=True)
class LocalEncoder:
    """Implements `Encoder`; see there for what each method promises."""

    base_model: BaseModel
    method: str
    chat_template: str | None
    """A shipped template that replaces the model's own."""

    @property
    def identity(self) -> str:
        """What the counts depend on."""
        parts = [VERSION, self.base_model.identity, self.method, self.chat_template]
        return "local:" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def limits(self) -> Limits:
        """What the trainer accepts of a dataset as a whole."""
        return Limits()

    def count(self, examples: Sequence[Mapping[str, Json]]) -> list[int]:
        """Return how many tokens each example is trained as."""
        return [self._chat.count(example) for example in examples]

    def check(self, example: Mapping[str, Json]) -> None:
        """Check what the trainer would refuse much later."""

    def show(self, example: Mapping[str, Json]) -> list[Piece]:
        """Return an example exactly as the model sees it, token by token."""
        raise BackendError("this example cannot be shown")

    def warnings(self) -> list[str]:
        """Say what a person should know of this model before it is trained."""
        return []

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _chat(self) -> Any:  # noqa: ANN401 - of a module that needs the extra's packages
        folder: Path = tokenizer_folder(self.base_model)
        try:
            tokens = importlib.import_module("backends.local_gpu.tokens")
        except ImportError as error:
            raise BackendError(
                f"counting tokens needs the package {error.name}", INSTALL
            ) from error
        return tokens.load_chat(folder, self.chat_template)
