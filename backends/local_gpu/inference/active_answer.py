"""One answer while a model makes it, token by token."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from backends.local_gpu.inference.streaming_text import StreamingText, joined
from backends.local_gpu.templates.answers import Answer

BASE: Final = "__base__"
"""Name that peft uses for answers without an adapter."""

_AHEAD: Final = 256
"""Tokens that an answer is given room for when it joins; it may turn out longer or shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Addition of one step to one answer."""

    id: int
    added: Answer
    finish_reason: str | None = None
    """`stop` or `length` at the end of the answer."""
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(slots=True, kw_only=True)
class ActiveAnswer:
    """An answer in progress."""

    id: int
    prompt: Sequence[int]
    adapter: str
    """Name of the adapter that answers, or `BASE`."""
    ends: frozenset[int]
    """Tokens that end the answer."""
    text: StreamingText
    max_tokens: int
    temperature: float
    chance: random.Random
    """The request's own, so that a draw does not depend on the other answers."""
    made: list[int] = field(default_factory=list)
    """Tokens so far, including a token that ended the answer; the newest is not yet read."""
    done: bool = False
    begun_s: float | None = None
    """Clock when the answer entered the batch; None while it waits for the first time."""
    alone: bool = False
    """True if the answer is decoded in a batch by itself, after a step that failed."""

    @property
    def read(self) -> list[int]:
        """Tokens that the model reads before it can continue."""
        return [*self.prompt, *self.made]

    @property
    def room(self) -> int:
        """Columns of the cache that the answer needs for now."""
        return len(self.prompt) + min(len(self.made) + _AHEAD, self.max_tokens)

    def take(self, token: int) -> Piece:
        """Continue by one token."""
        self.made.append(token)
        ended = token in self.ends
        added = Answer() if ended else self.text.add(token)
        if ended or self.text.stopped or len(self.made) >= self.max_tokens:
            self.done = True
            added = joined(added, self.text.end())
        reason = "stop" if ended or self.text.stopped else "length"
        return Piece(
            id=self.id,
            added=added,
            finish_reason=reason if self.done else None,
            prompt_tokens=len(self.prompt),
            completion_tokens=len(self.made),
        )


class Blame:
    """Ends the answer that raises an error within the block, and leaves the others running."""

    def __init__(self, answer: ActiveAnswer, failed: list[tuple[int, Exception]]) -> None:
        self._answer = answer
        self._failed = failed

    def __enter__(self) -> None:
        """Enter the block."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self._answer.done = True
        self._failed.append((self._answer.id, error))
        return True
