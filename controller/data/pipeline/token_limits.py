"""What the trained model makes of an example: whether it takes it, and how long it is.

In: examples that are ready. Out: those that the model can read, cut where the spec says so, with
their tokens where they are counted; the others are refused, or dropped, with the reason.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from backends.contract.errors import BackendError
from backends.contract.inspector import ExampleInspector, Limits
from controller.data.errors import DataError
from controller.data.examples.example import to_canonical
from controller.data.pipeline.batch_result import BatchResult, Note, PreparedExample
from controller.data.recipes import NEWEST
from controller.data.transforms.truncate import truncate
from controller.spec.data import OverLength

Refuse: TypeAlias = Callable[[int, DataError, BatchResult], None]
"""Records that the row of a line cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLimits:
    """The model's view on the examples of one source."""

    inspector: ExampleInspector
    most: int | None
    """The spec's `max_tokens`; without it only what may be too long for the model is counted."""
    over_length: OverLength
    recipe: int = NEWEST
    """Version of the canonical form of truncated examples."""

    @property
    def surely_short(self) -> int:
        """Bytes of a canonical line up to which an example need not be counted.

        No token is shorter than a byte, and a canonical line is longer than what a template makes
        of it.
        """
        longest = self._limits.max_tokens
        return sys.maxsize if longest is None else longest

    def all_pass(self, lines: bytes) -> bool:
        """Say whether `check` would let all of these plain conversations pass, if they are short."""
        return self.inspector.all_pass(lines)

    def check(self, one: PreparedExample, out: BatchResult) -> None:
        """Check an example as the trainer would, and its length where it is not counted anyway.

        Raises:
            DataError: The trainer would refuse it.
        """
        try:
            self.inspector.check(one.json)
        except BackendError as error:
            raise DataError(error.message, error.remedy) from None
        if self.most is None and len(one.spelt[0]) > self.surely_short:
            try:
                tokens = self.inspector.count([one.json])[0]
            except BackendError:
                # Not countable here; whoever trains it counts it.
                return
            self._fits(tokens, one.line, out)

    def apply(
        self, waiting: Sequence[PreparedExample], out: BatchResult, refuse: Refuse
    ) -> Iterator[tuple[PreparedExample, int]]:
        """Yield the examples that are short enough, cut where the spec says so, and their tokens."""
        if self.most is None or not waiting:
            return
        for one, count in zip(waiting, self._counts(waiting), strict=True):
            try:
                if isinstance(count, DataError):
                    raise count
                if count <= self.most:
                    self._fits(count, one.line, out)
                    yield one, count
                elif (cut := self._shortened(one, count, self.most, out)) is not None:
                    yield cut
            except DataError as error:
                refuse(one.line, error, out)

    @property
    def _limits(self) -> Limits:
        return self.inspector.limits

    def _fits(self, tokens: int, line: int, out: BatchResult) -> None:
        longest = self._limits.max_tokens
        if longest is None or tokens <= longest:
            return
        message = f"{tokens} tokens, and the base model reads at most {longest}"
        if not self._limits.truncates:
            raise DataError(
                message,
                f"Set data.prepare: {{max_tokens: {longest}, over_length: drop}}, or truncate.",
            )
        out.counts["max_tokens", "noted"] += 1
        out.notes.append(Note(line, "max_tokens", "noted", f"{message}: it is cut there"))

    def _shortened(
        self, one: PreparedExample, count: int, most: int, out: BatchResult
    ) -> tuple[PreparedExample, int] | None:
        """Do what the spec says of an example that is too long; None when it is not used."""
        if self.over_length == "error":
            raise DataError(
                f"{count} tokens; at most {most} are allowed",
                "Shorten it, raise data.prepare.max_tokens, or set over_length: drop or truncate.",
            )
        over, cut = f"{count} tokens, more than {most}", None
        if self.over_length == "truncate":
            cut = truncate(one.whole, most, lambda part: self.inspector.count([part.as_json()])[0])
            over += "" if cut else ", and no answer would be left"
        if cut is None:
            out.drop(one.line, "max_tokens", over)
            return None
        out.counts["max_tokens", "changed"] += 1
        out.notes.append(Note(one.line, "max_tokens", "changed", f"{over}: {cut.reason}"))
        spelt, json = to_canonical(cut.example, self.recipe), cut.example.as_json()
        return one._replace(example=cut.example, json=json, spelt=spelt), cut.tokens

    def _counts(self, waiting: Sequence[PreparedExample]) -> list[int] | list[int | DataError]:
        """Count all at once; one by one only to find out which of them cannot be counted."""
        try:
            return self.inspector.count([one.json for one in waiting])
        except BackendError:
            return [self._count(one) for one in waiting]

    def _count(self, one: PreparedExample) -> int | DataError:
        try:
            return self.inspector.count([one.json])[0]
        except BackendError as error:
            return DataError(error.message, error.remedy)
