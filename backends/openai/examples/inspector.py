"""Inspection of examples for a server's model: token counts, and checks of the service.

Encodings are imported only in the process that counts.
"""

import importlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from functools import cached_property
from types import ModuleType
from typing import Any, Final

from backends.contract.backend import Endpoint
from backends.contract.errors import BackendError
from backends.contract.inspector import Feature, Json, Limits, Piece
from backends.contract.methods import METHODS
from backends.installation import install_command
from backends.openai.api.endpoints import EXTRA
from backends.openai.examples.encodings import encoding_name
from backends.openai.examples.example_checks import check_example
from backends.openai.grader_templates import Path, paths_read, require_paths
from backends.openai.limits import PUBLISHED
from backends.openai.prices import PriceTable
from backends.openai.profiles.profile import profile_of

VERSION: Final = 1
"""Number to raise whenever the count of an example changes."""
RULES_VERSION: Final = 2
"""Number to raise whenever the checks refuse other examples."""
_DEVELOPER: Final = (
    "the role `developer` is not in the published form of training files: if the service refuses "
    "the file, write `system` instead"
)


@dataclass(frozen=True, kw_only=True)
class OpenAIInspector:
    """Implements `ExampleInspector`."""

    model: str
    method: str
    kind: str = "openai"
    """The kind of service whose published rules apply; many kinds have no published rules."""
    reads: tuple[Path, ...] = ()
    """Keys of every row that the grader reads."""
    limits: Limits = field(default_factory=Limits)
    """Limits of the server for a dataset as a whole."""
    thinks: bool = False
    """False, because servers return thinking apart from the answer."""
    note: str | None = None
    """What the service does not document, for the plan."""

    @property
    def identity(self) -> str:
        """Cache key: changes when token counts or validation rules change."""
        rules: list[Json] | None = [RULES_VERSION, self.kind] if self._is_strict else None
        parts: list[Json] = [VERSION, rules, *astuple(self.limits), *self.reads]
        return f"openai:{encoding_name(self.model)}:{self.method}:{json.dumps(parts)}"

    def count(self, examples: Sequence[Mapping[str, Json]]) -> list[int]:
        """Return the number of billed tokens of each example, for one epoch."""
        return list(map(self._count, examples))

    def check(self, example: Mapping[str, Json]) -> None:
        """Refuse an example that the service would refuse much later."""
        if self._is_strict:
            check_example(self.method, example, PUBLISHED[self.kind])
        require_paths(example, self.reads)

    def longest(self, examples: Sequence[Mapping[str, Json]]) -> list[int]:
        """Return nothing: the services limit what `count` counts."""
        del examples
        return []

    def all_pass(self, lines: bytes) -> bool:
        """Return True where no rule concerns plain conversations, as in supervised training."""
        del lines
        return METHODS[self.method].is_of_conversations or not (self._is_strict or self.reads)

    def show(self, example: Mapping[str, Json]) -> list[Piece]:
        """Return an example token by token.

        The texts are the model's own tokens. The marks between them are ChatML, because the service
        does not publish how it writes roles, tools and ends of turn.
        """
        pieces: list[Piece] = open_tokens().show(self.model, example)
        return pieces

    def warnings(self, features: Collection[Feature]) -> list[str]:
        """Warn of what the published rules and the service's documents leave open."""
        is_unclear = self._is_strict and METHODS[self.method].learns_answers
        developer = [_DEVELOPER] if is_unclear and "developer" in features else []
        return developer if self.note is None else [*developer, self.note]

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def _is_strict(self) -> bool:
        return profile_of(self.kind).rules == "openai"

    @cached_property
    def _count(self) -> Callable[[Mapping[str, Any]], int]:
        count: Callable[[Mapping[str, Any]], int] = open_tokens().counter(self.model)
        return count


def open_inspector(
    model: str,
    method: str,
    hyperparameters: Mapping[str, Json],
    endpoint: Endpoint,
    prices: PriceTable,
    *,
    near: bool,
) -> OpenAIInspector:
    """Return the inspector of a server.

    Args:
        model: The base model.
        method: The training method.
        hyperparameters: Parsed hyperparameters; a grader in them reads the rows.
        endpoint: The server; only OpenAI's and Azure's rules are published.
        prices: Prices and limits of the server's models.
        near: True if the server is on this machine, and so is not the service.
    """
    kind = "compatible" if near else endpoint.kind
    published, is_strict = PUBLISHED[kind], profile_of(kind).rules == "openai"
    price = prices.price(model)
    is_graded = not METHODS[method].learns_answers
    limits = Limits(
        min_examples=published.examples,
        max_bytes=published.file_bytes,
        max_tokens=None if price is None or not is_strict else price.max_example_tokens,
        truncates=True,
        max_examples=published.graded if is_graded else None,
        max_held_out=published.graded_held_out if is_graded else None,
    )
    reads = paths_read(hyperparameters.get("grader")) if is_graded else ()
    note = profile_of(endpoint.kind).note
    return OpenAIInspector(
        model=model, method=method, kind=kind, limits=limits, reads=reads, note=note
    )


def open_tokens() -> ModuleType:
    """Return the module `tokens`.

    Raises:
        BackendError: A package is not installed.
    """
    try:
        return importlib.import_module("backends.openai.examples.tokens")
    except ImportError as error:
        message = f"counting tokens needs the package {error.name}"
        raise BackendError(message, install_command(EXTRA)) from error
