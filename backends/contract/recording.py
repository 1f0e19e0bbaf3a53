"""Prices of answers, and conversations that a service has stored.

Part of the contract.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backends.contract.inspector import Json

_PER_MILLION = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPrice:
    """Price of a model's answers, in US dollars per million tokens."""

    input: float
    """Of prompts."""
    output: float
    """Of answers."""

    def usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Return the price of some answers in US dollars."""
        dollars = prompt_tokens * self.input + completion_tokens * self.output
        return dollars * _PER_MILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersEstimate:
    """Estimated tokens of answers, and their price."""

    prompt_tokens: int
    completion_tokens: tuple[int, int]
    """The tokens of the references, and the most that the answers may have."""
    price: AnswerPrice | None = None
    """None where it is not known."""
    basis: str = ""
    """Basis of the price: `prices of 2025-11`."""

    @property
    def usd(self) -> tuple[float, float] | None:
        """The least and the most that the answers may cost; None if the price is not known."""
        if self.price is None:
            return None
        least, most = self.completion_tokens
        return self.price.usd(self.prompt_tokens, least), self.price.usd(self.prompt_tokens, most)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCompletion:
    """A completion that a service has stored. Its question is asked for by its ID."""

    id: str
    model: str
    """The model that answered."""
    answer: Mapping[str, Json]
    """The answer, a message of the assistant."""
    tools: Sequence[Mapping[str, Json]] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
