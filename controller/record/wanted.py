"""Prompts to record for each model, and their fine-tunes. Pure."""

import hashlib
import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from backends.contract.completions import Prompt
from backends.contract.errors import FtctlError
from controller.data.dataset import Split
from controller.evaluate.answer_file import AnswerKey, prompt_digest
from controller.evaluate.ask import key_of, prompts_of
from controller.evaluate.compare import EvaluatedModel
from controller.evaluate.prompts.lazy import changed, joined
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
    def prompts(self) -> Sequence[Prompt]:
        """The prompts of all parts."""
        return joined([part.prompts for part in self.parts])


def asked_prompts(
    model: EvaluatedModel, prompts: Sequence[Prompt], *, of_labels: bool
) -> Sequence[Prompt]:
    """Return prompts as a model is asked them, with log-probabilities if answers are labels."""
    own = prompts_of(model, prompts)
    return changed(own, lambda prompt: replace(prompt, logprobs=LOGPROBS)) if of_labels else own


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
