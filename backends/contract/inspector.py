"""How a model reads examples: what the controller asks while it builds a dataset.

Part of the contract. Nothing here imports anything but the standard library.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""What JSON can say."""

Feature: TypeAlias = Literal["system", "developer", "tools", "parallel_tool_calls"]
"""Features that only some chat templates support: messages of the role system or developer, tools
and tool calls, several tool calls at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One token of an example, as text; several, where only together they are characters."""

    text: str
    trained: bool
    """Whether its loss is learnt from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the trainer accepts of a dataset as a whole."""

    min_examples: int = 1
    """Fewest training examples."""
    max_bytes: int | None = None
    """Largest file."""
    max_tokens: int | None = None
    """Longest example; None where it is not known."""
    truncates: bool = False
    """Whether a longer example is cut there, instead of refused."""
    max_examples: int | None = None
    """Maximum number of training examples."""
    max_held_out: int | None = None
    """Maximum number of held-out examples."""


class ExampleInspector(Protocol):
    """Reads examples as one model does.

    Cheap to make and picklable: examples are read in several processes, and each opens tokenizer
    and template when it first needs them. An example is one line of canonical JSONL, parsed.
    """

    @property
    def identity(self) -> str:
        """What counts and refusals depend on: tokenizer, template, method, rules; never a path."""

    @property
    def thinks(self) -> bool:
        """True if the model may write more than its answer: thinking, or channels.

        False where that is not known. Needs no package of an extra.
        """

    @property
    def limits(self) -> Limits:
        """What the trainer accepts of a dataset as a whole. Needs no package of an extra."""

    def count(self, examples: Sequence[Mapping[str, Json]]) -> list[int]:
        """Return how many tokens each example is trained as.

        Raises:
            BackendError: A package is missing, the tokenizer cannot be read, or one of the
                examples is refused by the template: which, a count of each alone tells.
        """

    def check(self, example: Mapping[str, Json]) -> None:
        """Check what the trainer would refuse much later. Needs no package of an extra.

        Raises:
            BackendError: The trainer would refuse this example; the message says why.
        """

    def all_pass(self, lines: bytes) -> bool:
        """Return True only if `check` accepts every line. False is always safe.

        The caller passes thousands of lines at once. If the answer is True, it need not parse them
        again; if it is False, it checks each example. An inspector may leave this method out.

        Args:
            lines: Canonical lines of conversations whose messages hold a role and a text, not
                blank, and nothing else: perhaps one of the system, then the user, who begins, and
                the assistant, who ends.
        """
        del lines
        return False

    def show(self, example: Mapping[str, Json]) -> list[Piece]:
        """Return an example exactly as the model sees it, token by token.

        Raises:
            BackendError: It cannot be shown.
        """

    def warnings(self, features: Collection[Feature]) -> list[str]:
        """Say what a person should know of this model before it is trained on such examples.

        For example that its chat template drops the system prompt. Empty where a package that
        would be needed to find out is missing.

        Args:
            features: What at least one example has.
        """
