"""Prompts to record for each model, and their fine-tunes. Pure."""

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain
from typing import Final, overload

from backends.contract.completions import Prompt
from backends.contract.errors import FtctlError
from controller.data.dataset import Split
from controller.evaluate.answer_file import AnswerKey, prompt_digest
from controller.evaluate.ask import key_of, prompts_of
from controller.evaluate.compare import EvaluatedModel
from controller.spec.data import Prepare

LOGPROBS: Final = 20
"""Most likely tokens that are recorded for each token of a label: the most that servers give."""
_SALT: Final = b"ftctl record"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Prompts of one kind."""

    name: str
    """`held_out`, `train` or `stored`."""
    prompts: Sequence[Prompt]
    """As the model gets them."""
    of: int
    """Number of prompts from which these were sampled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Prompts for the model in production of one fine-tune."""

    name: str
    model: EvaluatedModel
    parts: Sequence[Part]
    prepare: Prepare
    """The data policy, which decides what is written to be committed."""
    is_private: bool
    """True if nothing of it may leave the machine."""
    held_out: Split
    """The held-out rows, for their places."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Recorded scores of the build."""
    new_stored: Sequence[bytes] = ()
    """Canonical lines of stored completions that were sampled now."""
    notes: Sequence[str] = ()
    """Sentences on what cannot be asked."""
    unlisted: FtctlError | None = None
    """Why stored completions could not be listed, where the service may do so another time."""

    @property
    def key(self) -> AnswerKey:
        """Key of the model's kept answers."""
        return key_of(self.model)

    @property
    def prompts(self) -> "Joined":
        """The prompts of all parts."""
        return Joined([part.prompts for part in self.parts])


def asked_prompts(
    model: EvaluatedModel, prompts: Sequence[Prompt], *, of_labels: bool
) -> Sequence[Prompt]:
    """Return prompts as a model is asked them, with log-probabilities if answers are labels."""
    own = prompts_of(model, prompts)
    return _WithLogprobs(own) if of_labels else own


def sample_places(prompts: Iterable[Prompt], count: int) -> list[int]:
    """Return the places of sampled prompts, in order; of equal prompts only the first counts.

    The contents of the prompts decide, so that the same prompts are chosen in every run, and a
    larger sample has all prompts of a smaller one.
    """
    first: dict[bytes, int] = {}
    for place, prompt in enumerate(prompts):
        first.setdefault(prompt_digest(prompt), place)
    return sorted(first[one] for one in smallest(first, count))


def smallest(contents: Iterable[bytes], count: int) -> list[bytes]:
    """Return sampled contents, which do not depend on their order."""
    return heapq.nsmallest(count, contents, key=lambda one: hashlib.sha256(_SALT + one).digest())


class Picked(Sequence[Prompt]):
    """Some of many prompts, read when they are needed."""

    def __init__(self, prompts: Sequence[Prompt], places: Sequence[int]) -> None:
        self._prompts, self._places = prompts, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Prompt: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Prompt]: ...

    def __getitem__(self, index: int | slice) -> Prompt | Sequence[Prompt]:
        if isinstance(index, slice):
            return Picked(self._prompts, self._places[index])
        return self._prompts[self._places[index]]


class Joined(Sequence[Prompt]):
    """Several sequences of prompts, one after the other."""

    def __init__(self, parts: Sequence[Sequence[Prompt]]) -> None:
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Prompt: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Prompt]: ...

    def __getitem__(self, index: int | slice) -> Prompt | Sequence[Prompt]:
        if isinstance(index, slice):
            return Picked(self, range(*index.indices(len(self))))
        place = range(len(self))[index]
        number = next(number for number, end in enumerate(self._ends) if place < end)
        return self._parts[number][place - (self._ends[number - 1] if number else 0)]

    def __iter__(self) -> Iterator[Prompt]:
        return chain.from_iterable(self._parts)


class _WithLogprobs(Sequence[Prompt]):
    """Prompts that ask for log-probabilities of the answers' tokens."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self._prompts = prompts

    def __len__(self) -> int:
        return len(self._prompts)

    @overload
    def __getitem__(self, index: int) -> Prompt: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Prompt]: ...

    def __getitem__(self, index: int | slice) -> Prompt | Sequence[Prompt]:
        if isinstance(index, slice):
            return _WithLogprobs(self._prompts[index])
        return replace(self._prompts[index], logprobs=LOGPROBS)

    def __iter__(self) -> Iterator[Prompt]:
        return (replace(prompt, logprobs=LOGPROBS) for prompt in self._prompts)
