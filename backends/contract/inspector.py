"""Inspection of examples by a model: counts and checks while the controller builds a dataset.

Part of the contract. Nothing here imports anything but the standard library.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""A value that JSON can hold."""

Feature: TypeAlias = Literal["system", "developer", "tools", "parallel_tool_calls"]
"""Features that only some chat templates support: messages of the role system or developer, tools
and tool calls, several tool calls at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One token of an example as text, or several tokens that are characters only together."""

    text: str
    trained: bool
    """True if training learns from its loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of the trainer for a dataset as a whole."""

    min_examples: int = 1
    """Minimum number of training examples."""
    max_bytes: int | None = None
    """Maximum size of a file."""
    max_tokens: int | None = None
    """Maximum length of an example; None where it is not known."""
    max_tokens_of: str = "the base model reads"
    """Origin of `max_tokens`, for messages: "… at most 512"."""
    truncates: bool = False
    """True if the trainer cuts a longer example instead of refusing it."""
    max_examples: int | None = None
    """Maximum number of training examples."""
    max_held_out: int | None = None
    """Maximum number of held-out examples."""


class ExampleInspector(Protocol):
    """Inspects examples for one model.

    Cheap to make and picklable: several processes read examples, and each opens tokenizer and
    template when it first needs them. An example is one line of canonical JSONL, parsed.
    """

    @property
    def identity(self) -> str:
        """Cache key: changes when token counts or checks change; never contains a path."""

    @property
    def thinks(self) -> bool:
        """True if the model may write more than its answer: thinking, or channels.

        False where that is not known. Needs no package of an extra.
        """

    @property
    def limits(self) -> Limits:
        """Limits for a dataset as a whole. Needs no package of an extra."""

    def count(self, examples: Sequence[Mapping[str, Json]]) -> list[int]:
        """Return the number of tokens of each example in training.

        Raises:
            BackendError: A package is missing, the tokenizer cannot be read, or the template
                refuses an example. Count the examples one by one to find it.
        """

    def longest(self, examples: Sequence[Mapping[str, Json]]) -> list[int]:
        """Return the tokens of the longest text in each example, which limits apply to.

        A preference pair is read as two texts, one with each answer. Empty where every example is
        one text, so that `count` tells its length. An inspector may leave this method out.

        Raises:
            BackendError: As of `count`.
        """
        del examples
        return []

    def check(self, example: Mapping[str, Json]) -> None:
        """Refuse an example that the trainer would refuse much later. Needs no package of an extra.

        Raises:
            BackendError: The trainer would refuse the example; the message says why.
        """

    def all_pass(self, lines: bytes) -> bool:
        """Return True only if `check` accepts every line. False is always safe.

        The caller passes thousands of lines at once. If the answer is True, it need not parse them
        again; if it is False, it checks each example. An inspector may leave this method out.

        Args:
            lines: Canonical lines of plain conversations: a message of the system or none, then
                messages of the user and the assistant, from a question to an answer. Each message
                has a role and a text that is not blank, and nothing else.
        """
        del lines
        return False

    def show(self, example: Mapping[str, Json]) -> list[Piece]:
        """Return an example exactly as the model sees it, token by token.

        Raises:
            BackendError: The example cannot be shown.
        """

    def warnings(self, features: Collection[Feature]) -> list[str]:
        """Return warnings about training this model on examples with some features.

        For example, the chat template drops the system prompt. Empty if a package that is needed
        to find out is missing.

        Args:
            features: Features that at least one example has.
        """
