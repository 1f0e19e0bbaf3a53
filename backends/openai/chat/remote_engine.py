"""An engine whose models stay loaded at the server."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from backends.contract.completions import Chunk, Prompt, Sampling
from backends.contract.jobs import BaseModel
from backends.openai.chat.completions import Base, ChatCompletions


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteEngine:
    """Implements `Engine`: the models stay loaded at the server."""

    chats: ChatCompletions
    base_model: BaseModel
    named: Callable[[str | None], str]
    """Returns a model's name at the server; None is the base model."""

    def generate(self, model: str | None, prompt: Prompt, sampling: Sampling) -> Iterator[Chunk]:
        """Stream one answer."""
        base = Base(name=self.named(None), family=self.base_model.reference)
        return self.chats.stream(self.named(model), prompt, sampling, base)

    def close(self) -> None:
        """Do nothing; the engine holds no resources."""
