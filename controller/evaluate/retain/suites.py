"""The built-in suites of retained ability. Pure: a table.

A change of a suite's file or of its limit raises its version, which is part of the evaluation's
fingerprint: scores of two versions are never compared.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

SuiteName: TypeAlias = Literal[
    "arithmetic", "json", "instructions", "tool_calls", "refusals", "language"
]
TOOL_CALLS: Final = "tool_calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A built-in suite, half of it in Korean and half in English."""

    words: str
    """Description for people."""
    max_tokens: int
    """Longest answer, in tokens."""
    version: int = 1


SUITES: Final[dict[SuiteName, Suite]] = {
    "arithmetic": Suite(words="short sums and word problems with one number", max_tokens=128),
    "json": Suite(words="answers that must be JSON with given keys and values", max_tokens=192),
    "instructions": Suite(
        words="instructions to follow to the letter: lengths, case, lists, forbidden words",
        max_tokens=192,
    ),
    "tool_calls": Suite(
        words="calls of the right tool with the right arguments, or of none", max_tokens=128
    ),
    "refusals": Suite(
        words="harmful requests to refuse, and harmless requests that only sound harmful",
        max_tokens=192,
    ),
    "language": Suite(words="answers in the language that is asked for", max_tokens=192),
}
"""All built-in suites, in the order of messages and of the JSON Schema."""
