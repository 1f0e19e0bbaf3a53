"""Prompts, the answers of models, and what gives them. Part of the contract of `backends.base`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from backends.encoder import Json

COLDEST: Final = 1e-6
"""A temperature below it is 0: what is divided by it can be too large to draw by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One conversation to continue, and perhaps the answer it should get."""

    messages: Sequence[Mapping[str, Json]]
    tools: Sequence[Mapping[str, Json]] = ()
    reference: Mapping[str, Json] | None = None
    """The expected answer, a message of the assistant, whose loss is measured too; or
    `{"text": ...}`, a text to measure, of which nothing is asked."""

    @property
    def is_text(self) -> bool:
        """Whether nothing is asked: there is only a text to measure."""
        return "text" in (self.reference or {}) and not self.messages


def text_of(message: Mapping[str, Json]) -> str:
    """Return the text of a message's content, its parts joined; of a plain text, the text."""
    content = message.get("content", message.get("text"))
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else ()
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return "".join(text for text in texts if isinstance(text, str))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How answers are drawn."""

    stop: Sequence[str] = ()
    """Texts at which an answer ends; they are not part of it."""

    max_tokens: int = 256
    temperature: float = 0.0
    """0 is greedy, and so is what is smaller than `COLDEST`."""
    seed: int = 0
    thinking: bool = False
    """Whether a model that can think before it answers is asked to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer."""

    text: str
    """What the model says, without its thinking and its tool calls."""
    finish_reason: str
    """`stop` when the model ended its turn, `length` when it ran into `max_tokens`."""
    reference_loss: float | None = None
    """Mean negative log likelihood of the reference's tokens, in nats; None if not measured."""
    reference_tokens: int = 0
    thinking: str = ""
    """What the model wrote before its answer, where its template has a place for that."""
    tool_calls: Sequence[Mapping[str, Json]] = ()
    """Tools that the model calls, in the protocol's form: `{"id", "type", "function"}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of an answer while it is being made."""

    text: str
    thinking: str = ""
    """A piece of what the model writes before its answer."""
    tool_calls: Sequence[Mapping[str, Json]] = ()
    """Whole calls that ended with this piece, in the protocol's form."""
    finish_reason: str | None = None
    """Set on the last piece: `stop` or `length`."""
    prompt_tokens: int = 0
    """Set on the last piece, as is the next."""
    completion_tokens: int = 0


class Engine(Protocol):
    """Models kept loaded, answering until closed. Safe to call from many threads."""

    def generate(self, model: str | None, prompt: Prompt, sampling: Sampling) -> Iterator[Chunk]:
        """Stream one answer; concurrent calls are answered in one batch.

        Args:
            model: A model ID; None is the base model itself.
            prompt: What to answer.
            sampling: How.

        Raises:
            ModelMissing: No such model.
            BackendError: The engine's process is gone.
        """

    def close(self) -> None:
        """End it and free its memory."""
