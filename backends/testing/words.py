"""`WordInspector`: an inspector for tests, to which a word is a token."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backends.contract.errors import BackendError
from backends.contract.inspector import Feature, Json, Limits, Piece
from backends.contract.methods import SUPERVISED, TEXT, form_of


@dataclass(frozen=True, slots=True, kw_only=True)
class WordInspector:
    """Implements `ExampleInspector` without tokenizer and template."""

    method: str = SUPERVISED.name
    limits: Limits = field(default_factory=Limits)
    """Limits of a dataset; a test may set others."""
    refused: str | None = None
    """A word that `check` refuses."""
    warned: tuple[str, ...] = ()
    """Warnings that `warnings` returns."""
    thinks: bool = False

    @property
    def identity(self) -> str:
        """Identity of the counts."""
        return f"words:{self.method}"

    def count(self, examples: Sequence[Mapping[str, Json]]) -> list[int]:
        """Return how many words the JSON of each example has."""
        return [
            max(1, len(json.dumps(example, ensure_ascii=False).split())) for example in examples
        ]

    def check(self, example: Mapping[str, Json]) -> None:
        """Refuse an example with the refused word."""
        if self.refused is not None and self.refused in json.dumps(example, ensure_ascii=False):
            raise BackendError(f"the trainer refuses {self.refused!r}", "Take the word out.")

    def longest(self, examples: Sequence[Mapping[str, Json]]) -> list[int]:
        """Return nothing: every example is one text."""
        del examples
        return []

    def all_pass(self, lines: bytes) -> bool:
        """Return True if no line has the refused word."""
        return self.refused is None or self.refused not in lines.decode()

    def show(self, example: Mapping[str, Json]) -> list[Piece]:
        """Return the words of each message; training learns from words of the assistant."""
        return list(_pieces(example))

    def warnings(self, features: Collection[Feature]) -> list[str]:
        """Return the warnings that the test sets."""
        del features
        return list(self.warned)


def _pieces(example: Mapping[str, Any]) -> Iterator[Piece]:
    form = form_of(example)
    if form is TEXT:
        yield from _words(str(example["text"]), trained=True)
        return
    for message in [*form.question(example), *form.answers(example)]:
        yield Piece(text=f"{message['role']}:", trained=False)
        trained = message["role"] == "assistant" and message.get("weight") != 0
        content = message.get("content") or message.get("tool_calls")
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        yield from _words(f" {text}", trained=trained)
        yield Piece(text="\n", trained=trained)


def _words(text: str, *, trained: bool) -> Iterator[Piece]:
    for number, word in enumerate(text.split(" ")):
        piece = f" {word}" if number else word
        if piece:
            yield Piece(text=piece, trained=trained)
