"""How a server's model reads examples: its encoding, and what the service would refuse.

The door to the encodings: they are opened in the process that counts.
"""

import importlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from functools import cached_property
from types import ModuleType
from typing import Any, Final

from backends.base import BackendError, Endpoint
from backends.encoder import Feature, Json, Limits, Piece
from backends.openai.encodings import encoding_name
from backends.openai.endpoints import INSTALL
from backends.openai.files import LARGEST, LARGEST_UPLOAD
from backends.openai.prices import PriceTable
from backends.openai.rules import CHECKS

VERSION: Final = 1
"""Raised whenever the same example would be counted otherwise."""
RULES_VERSION: Final = 1
"""Raised whenever the service's rules, as we know them, refuse other examples."""
_FEWEST: Final = 10
"""Examples that the service trains on at all."""


@dataclass(frozen=True, kw_only=True)
class OpenAIEncoder:
    """Implements `Encoder`; see there for what each method promises."""

    model: str
    method: str
    strict: bool = True
    """Whether the server is the service whose rules are published."""
    limits: Limits = field(default_factory=Limits)
    """What the server accepts of a dataset as a whole."""
    thinks: bool = False
    """Servers keep thoughts apart from the answer."""

    @property
    def identity(self) -> str:
        """What counts and refusals depend on: what another server took, this one may not."""
        rules = RULES_VERSION if self.strict else None
        parts: list[Json] = [VERSION, rules, *astuple(self.limits)]
        return f"openai:{encoding_name(self.model)}:{self.method}:{json.dumps(parts)}"

    def count(self, examples: Sequence[Mapping[str, Json]]) -> list[int]:
        """Return how many tokens each example is billed as, for one epoch."""
        return list(map(self._count, examples))

    def check(self, example: Mapping[str, Json]) -> None:
        """Check what the service would refuse much later; other servers have rules of their own."""
        if self.strict:
            CHECKS[self.method](example)

    def clears(self, lines: bytes) -> bool:
        """Say yes for supervised training: no rule is about plain conversations."""
        del lines
        return self.method == "supervised" or not self.strict

    def show(self, example: Mapping[str, Json]) -> list[Piece]:
        """Return an example token by token.

        The texts are the model's own tokens; what stands between them is a likeness, because the
        service does not publish how it writes down roles, tools and ends of turn.
        """
        pieces: list[Piece] = open_tokens().show(self.model, example)
        return pieces

    def warnings(self, features: Collection[Feature]) -> list[str]:
        """Say nothing: the service's template reads whatever its rules allow."""
        del features
        return []

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _count(self) -> Callable[[Mapping[str, Any]], int]:
        count: Callable[[Mapping[str, Any]], int] = open_tokens().counter(self.model)
        return count


def open_encoder(
    model: str, method: str, endpoint: Endpoint, prices: PriceTable, *, near: bool
) -> OpenAIEncoder:
    """Return how a server reads examples.

    Args:
        model: The base model.
        method: The training method.
        endpoint: The server; only OpenAI's and Azure's rules are published.
        prices: What is known of the server's models.
        near: Whether it is on this machine, and so not the service.
    """
    strict = endpoint.kind != "compatible" and not near
    price = prices.price(model)
    limits = Limits(
        min_examples=_FEWEST if strict else 1,
        max_bytes=LARGEST_UPLOAD if endpoint.kind == "azure" else LARGEST,
        max_tokens=price.max_example_tokens if strict and price is not None else None,
        cuts=True,
    )
    return OpenAIEncoder(model=model, method=method, strict=strict, limits=limits)


def open_tokens() -> ModuleType:
    """Return the module that counts.

    Raises:
        BackendError: Its package is not installed.
    """
    try:
        return importlib.import_module("backends.openai.tokens")
    except ImportError as error:
        raise BackendError(f"counting tokens needs the package {error.name}", INSTALL) from error
