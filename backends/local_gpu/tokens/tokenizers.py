"""Tokenizers of examples: conversations by a chat template, plain texts as they are."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from backends.contract.errors import BackendError
from backends.contract.inspector import Piece
from backends.local_gpu.templates.chat_templates import NEWEST
from backends.local_gpu.tokens.chat_tokens import Encoded, load_chat
from backends.local_gpu.tokens.text_tokens import load_documents

OneT = TypeVar("OneT")
"""One encoded example."""


class ExampleTokenizer(Protocol[OneT]):
    """Turns examples into tokens."""

    def counts(self, examples: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return each example's number of tokens in training."""

    def encode(self, examples: Iterable[Mapping[str, Any]]) -> Iterator[OneT | BackendError]:
        """Yield each example's tokens, or the error for an example that cannot be used."""

    def blocks(self, one: OneT) -> Sequence[Encoded]:
        """Return an example in the blocks that the model reads separately."""

    def show(self, example: Mapping[str, Any]) -> list[Piece]:
        """Return an example as the model sees it."""


def open_example_tokenizer(
    folder: Path,
    chat_template: str | None,
    max_length: int | None,
    context: int | None,
    *,
    thinking: bool = False,
    recipe: int = NEWEST,
) -> ExampleTokenizer[Any]:
    """Open what turns a model's examples into tokens.

    Args:
        folder: The model's folder.
        chat_template: A shipped template to use instead of the model's own.
        max_length: For plain texts: tokens per block at most. None reads conversations.
        context: Longest text that the base model reads, if it has a limit.
        thinking: True if the model is trained to think before it answers.
        recipe: Recipe by which conversations are rendered.

    Raises:
        BackendError: The tokenizer or the template cannot be read.
    """
    if max_length is None:
        return load_chat(folder, chat_template, thinking=thinking, recipe=recipe)
    return load_documents(folder, min(max_length, context or max_length))
