"""Check examples as the trainer would, and limit their length in tokens.

In: prepared examples. Out: the examples that the model can read, truncated where the spec says so,
with their tokens where they are counted. All others are refused or dropped, with the reason.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from backends.contract.errors import BackendError
from backends.contract.inspector import ExampleInspector, Json
from controller.data.errors import DataError
from controller.data.examples.example import to_canonical
from controller.data.pipeline.batch_result import BatchResult, PreparedExample
from controller.data.recipes import NEWEST
from controller.data.transforms.truncate import truncate
from controller.spec.data import OverLength

PREAMBLE = 512
"""Most tokens that a chat template writes by itself: a default system prompt, the date."""
INDENTED = 4
"""Most tokens that a template makes of one byte of a tool definition, which it may indent."""

Refuse: TypeAlias = Callable[[int, DataError, BatchResult], None]
"""Records that the row of a line cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLimits:
    """The model's checks of the examples of one source."""

    inspector: ExampleInspector
    max_tokens: int | None
    """The spec's `max_tokens`; without it, only examples that may exceed the model's are counted."""
    over_length: OverLength
    recipe: int = NEWEST
    """Version of the canonical form of truncated examples."""

    @property
    def surely_short(self) -> int:
        """Maximum bytes of a canonical line without tools whose example need not be counted.

        No token is shorter than a byte, and what a template writes around a message is shorter than
        the keys around it in a canonical line. So only what it writes once is to be added.
        """
        longest = self.inspector.limits.max_tokens
        return sys.maxsize if longest is None else max(longest - PREAMBLE, 0)

    def all_pass(self, json_lines: bytes) -> bool:
        """Return True only if `check` accepts each of these plain, short conversations."""
        return self.inspector.all_pass(json_lines)

    def check(self, prepared: PreparedExample, result: BatchResult) -> None:
        """Check an example as the trainer would, and its length unless `apply` counts it.

        Raises:
            DataError: The trainer would refuse it.
        """
        try:
            self.inspector.check(prepared.json)
        except BackendError as error:
            raise DataError(error.message, error.remedy) from None
        size = len(prepared.canonical[0]) * (INDENTED if prepared.json.get("tools") else 1)
        if self.max_tokens is None and size > self.surely_short:
            try:
                tokens = self._lengths([prepared.json])[0]
            except BackendError:
                # Not countable on this machine; the machine that trains it counts it.
                return
            self._check_length(tokens, prepared.line, result)

    def apply(
        self, examples: Sequence[PreparedExample], result: BatchResult, refuse: Refuse
    ) -> Iterator[tuple[PreparedExample, int]]:
        """Yield the examples that are short enough, truncated if the spec says so, with tokens."""
        if self.max_tokens is None or not examples:
            return
        for prepared, found in zip(examples, self._counts(examples), strict=True):
            try:
                if isinstance(found, DataError):
                    raise found
                count, length = found
                if length <= self.max_tokens:
                    self._check_length(length, prepared.line, result)
                    yield prepared, count
                elif (
                    cut := self._shortened(prepared, length, self.max_tokens, result)
                ) is not None:
                    yield cut
            except DataError as error:
                refuse(prepared.line, error, result)

    def _check_length(self, tokens: int, line: int, result: BatchResult) -> None:
        limits = self.inspector.limits
        if limits.max_tokens is None or tokens <= limits.max_tokens:
            return
        message = f"{tokens} tokens, and {limits.max_tokens_of} at most {limits.max_tokens}"
        if not limits.truncates:
            raise DataError(
                message,
                f"Set data.prepare: {{max_tokens: {limits.max_tokens}, over_length: drop}}, "
                "or truncate.",
            )
        result.note(line, "max_tokens", f"{message}: it is cut there")

    def _shortened(
        self, prepared: PreparedExample, count: int, max_tokens: int, result: BatchResult
    ) -> tuple[PreparedExample, int] | None:
        """Treat an example that is too long as the spec says; return None if it is not used."""
        if self.over_length == "error":
            raise DataError(
                f"{count} tokens; at most {max_tokens} are allowed",
                "Shorten it, raise data.prepare.max_tokens, or set over_length: drop or truncate.",
            )
        reason, cut = f"{count} tokens, more than {max_tokens}", None
        if self.over_length == "truncate":
            cut = truncate(
                prepared.whole, max_tokens, lambda part: self.inspector.count([part.as_json()])[0]
            )
            reason += "" if cut else ", and no answer would be left"
        if cut is None:
            result.drop(prepared.line, "max_tokens", reason)
            return None
        result.change(prepared.line, "max_tokens", f"{reason}: {cut.reason}")
        canonical, json = to_canonical(cut.example, self.recipe), cut.example.as_json()
        return prepared._replace(example=cut.example, json=json, canonical=canonical), cut.tokens

    def _counts(
        self, examples: Sequence[PreparedExample]
    ) -> list[tuple[int, int]] | list[tuple[int, int] | DataError]:
        """Return the tokens of each example, and of its longest text.

        All examples are counted at once; one by one only to find out which cannot be counted.
        """
        try:
            return self._counted([prepared.json for prepared in examples])
        except BackendError:
            return [self._count(prepared) for prepared in examples]

    def _count(self, prepared: PreparedExample) -> tuple[int, int] | DataError:
        try:
            return self._counted([prepared.json])[0]
        except BackendError as error:
            return DataError(error.message, error.remedy)

    def _counted(self, examples: Sequence[Mapping[str, Json]]) -> list[tuple[int, int]]:
        counts = self.inspector.count(examples)
        return list(zip(counts, self.inspector.longest(examples) or counts, strict=True))

    def _lengths(self, examples: Sequence[Mapping[str, Json]]) -> list[int]:
        return self.inspector.longest(examples) or self.inspector.count(examples)
