"""Prompts, answers, and engines that generate them. Part of the contract."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from backends.contract.inspector import Json

COLDEST: Final = 1e-6
"""Lower temperatures count as 0: logits divided by them can be too large to sample from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One conversation to continue, and perhaps the answer it should get."""

    messages: Sequence[Mapping[str, Json]]
    tools: Sequence[Mapping[str, Json]] = ()
    reference: Mapping[str, Json] | None = None
    """The expected answer, a message of the assistant, whose loss is measured too; or
    `{"text": ...}`, a text to measure without a question."""
    logprobs: int = 0
    """Number of most likely tokens to report for each token of the answer, where the backend can.
    The answer does not depend on it."""
    rejected: Mapping[str, Json] | None = None
    """An answer that is not wanted, a message of the assistant, whose loss is measured too."""

    @property
    def is_text(self) -> bool:
        """True if there is no question, only a text to measure."""
        return "text" in (self.reference or {}) and not self.messages


def text_of(message: Mapping[str, Json]) -> str:
    """Return the text of a message: its content, with parts joined, or else its `text`."""
    content = message.get("content", message.get("text"))
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else ()
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return "".join(text for text in texts if isinstance(text, str))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Settings for drawing an answer."""

    stop: Sequence[str] = ()
    """Texts at which an answer ends; they are not part of it."""

    max_tokens: int = 256
    temperature: float = 0.0
    """0 is greedy, and so is any value below `COLDEST`."""
    seed: int = 0
    thinking: bool = False
    """True to let a model think before it answers, if it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer."""

    text: str
    """Text of the answer, without thinking and tool calls."""
    finish_reason: str
    """`stop` when the model ended its turn, `length` when it ran into `max_tokens`."""
    reference_loss: float | None = None
    """Mean negative log likelihood of the reference's tokens, in nats; None if not measured."""
    reference_tokens: int = 0
    rejected_loss: float | None = None
    """The same of the answer that is not wanted; None if not measured."""
    rejected_tokens: int = 0
    thinking: str = ""
    """Thinking before the answer, where the model's template has a place for it."""
    tool_calls: Sequence[Mapping[str, Json]] = ()
    """Tool calls of the model, in the protocol's form: `{"id", "type", "function"}`."""
    latency_s: float | None = field(default=None, compare=False)
    """Seconds that the answer took; None if no answer was made, or nobody measured. At a server:
    of the successful request, waits before it not counted. In a batch on this machine: from when
    the answer entered the batch, which it shares with other answers, to its end. Two equal answers
    are equal whatever they took."""
    prompt_tokens: int = 0
    """Tokens of the prompt; 0 if no answer was made, or the server does not report them."""
    completion_tokens: int = 0
    """Tokens of the answer, its thinking, its calls and its end mark included; 0 as above."""
    logprobs: Sequence[Mapping[str, Json]] = field(default=(), compare=False)
    """For each token of the answer `{"token", "logprob", "top"}`, where `Prompt.logprobs` asks for
    it; `top` has `[token, logprob]` of the most likely tokens. `bytes` is given beside a token that
    is a part of a character."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """One answer among those of a call of `Backend.complete`."""

    model: int
    """Place of the model in the call's list, from 0."""
    prompt: int
    """Place of the prompt in the call's list, from 0."""
    completion: Completion


def in_order(answers: Iterable[Completed], models: int, prompts: int) -> list[list[Completion]]:
    """Return all answers of a call of `Backend.complete` as lists.

    Args:
        answers: The answers, in any order.
        models: Number of models that were asked.
        prompts: Number of prompts that each model answered.

    Returns:
        One list per model, with one completion per prompt, both in the order of the call.

    Raises:
        ValueError: An answer is missing.
    """
    found = {(answer.model, answer.prompt): answer.completion for answer in answers}
    missing = models * prompts - len(found)
    if missing:
        raise ValueError(f"{missing} of {models * prompts} answers are missing")
    return [[found[model, prompt] for prompt in range(prompts)] for model in range(models)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of an answer while the model generates it."""

    text: str
    thinking: str = ""
    """A piece of the thinking before the answer."""
    tool_calls: Sequence[Mapping[str, Json]] = ()
    """Complete tool calls that ended with this piece, in the protocol's form."""
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
            prompt: The prompt to answer.
            sampling: How to draw the answer.

        Raises:
            ModelMissing: The model does not exist.
            BackendError: The engine's process has ended.
        """

    def close(self) -> None:
        """End the engine and free its memory."""
