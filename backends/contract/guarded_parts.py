"""Guarded inspectors and engines, which a guarded backend returns."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from backends.contract.completions import Chunk, Engine, Prompt, Sampling
from backends.contract.faults import Guard
from backends.contract.inspector import ExampleInspector, Feature, Json, Limits, Piece


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedInspector:
    """Implements `ExampleInspector` around another inspector; goes to other processes with it."""

    guard: Guard
    inspector: ExampleInspector

    @property
    def identity(self) -> str:
        """Identity of everything that decides counts and refusals."""
        with self.guard.call("inspector.identity") as call:
            identity = self.inspector.identity
            call.expect(identity, str)
        return identity

    @property
    def thinks(self) -> bool:
        """True if the model may write more than its answer; False if a plug-in lacks `thinks`."""
        with self.guard.call("inspector.thinks") as call:
            thinks = getattr(self.inspector, "thinks", False)
            call.expect(thinks, bool)
        return bool(thinks)

    @property
    def limits(self) -> Limits:
        """Limits of a whole dataset."""
        with self.guard.call("inspector.limits") as call:
            limits = self.inspector.limits
            call.expect(limits, Limits)
        return limits

    def count(self, examples: Sequence[Mapping[str, Json]]) -> list[int]:
        """Return the number of tokens of each example in training."""
        with self.guard.call("inspector.count") as call:
            counts = self.inspector.count(examples)
            call.expect(counts, list[int])
            if len(counts) != len(examples):
                raise call.wrong(f"{len(counts)} counts", f"one for each of {len(examples)}")
        return counts

    def check(self, example: Mapping[str, Json]) -> None:
        """Refuse an example that the trainer would refuse much later."""
        with self.guard.call("inspector.check"):
            self.inspector.check(example)

    def all_pass(self, lines: bytes) -> bool:
        """Return True only if `check` accepts every line; False if a plug-in lacks `all_pass`."""
        if not hasattr(self.inspector, "all_pass"):
            return False
        with self.guard.call("inspector.all_pass") as call:
            clear = self.inspector.all_pass(lines)
            call.expect(clear, bool)
        return clear

    def show(self, example: Mapping[str, Json]) -> list[Piece]:
        """Return an example exactly as the model sees it, token by token."""
        with self.guard.call("inspector.show") as call:
            pieces = self.inspector.show(example)
            call.expect(pieces, list[Piece])
        return pieces

    def warnings(self, features: Collection[Feature]) -> list[str]:
        """Return warnings about training this model on examples with some features."""
        with self.guard.call("inspector.warnings") as call:
            warnings = self.inspector.warnings(features)
            call.expect(warnings, list[str])
        return warnings


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedEngine:
    """Implements `Engine` around another engine."""

    guard: Guard
    engine: Engine

    def generate(self, model: str | None, prompt: Prompt, sampling: Sampling) -> Iterator[Chunk]:
        """Stream one answer."""
        with self.guard.call("engine.generate") as call:
            for chunk in self.engine.generate(model, prompt, sampling):
                call.expect(chunk, Chunk)
                yield chunk

    def close(self) -> None:
        """End the engine and free its memory."""
        with self.guard.call("engine.close"):
            self.engine.close()
