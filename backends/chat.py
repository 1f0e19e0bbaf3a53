"""Prompts and the answers of models. Part of the contract of `backends.base`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backends.encoder import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One conversation to continue, and perhaps the answer it should get."""

    messages: Sequence[Mapping[str, Json]]
    tools: Sequence[Mapping[str, Json]] = ()
    reference: str | None = None
    """The expected answer, whose loss is measured too; without messages, a text to measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How answers are drawn."""

    stop: Sequence[str] = ()
    """Texts at which an answer ends; they are not part of it."""

    max_tokens: int = 256
    temperature: float = 0.0
    """0 is greedy."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer."""

    text: str
    finish_reason: str
    """`stop` when the model ended its turn, `length` when it ran into `max_tokens`."""
    reference_loss: float | None = None
    """Mean negative log likelihood of the reference's tokens, in nats; None if not measured."""
    reference_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of an answer while it is being made."""

    text: str
    finish_reason: str | None = None
    """Set on the last piece: `stop` or `length`."""
    prompt_tokens: int = 0
    """Set on the last piece, as is the next."""
    completion_tokens: int = 0
