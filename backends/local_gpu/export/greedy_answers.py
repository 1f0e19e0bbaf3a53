"""Greedy answers of two forms of a model, compared token by token.

The same weights in another form, file type or program are rounded otherwise. Where two next tokens
are almost equally likely, rounding decides, and the rest of the answer may differ. Such an answer
counts as a near tie if the other form's token is at most a tolerance less likely. Any other
difference is a fault of the export.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.local_gpu.export.probes import MOST_TOKENS
from backends.local_gpu.inference.cached_forward import cache_name

TOLERANCE: Final = 0.25
"""Nats between two next tokens, below which 16-bit weights may decide otherwise."""
EXACT_TOLERANCE: Final = 1e-3
"""The same of weights that nobody rounded."""
Model: TypeAlias = PreTrainedModel | PeftModel
Tokens: TypeAlias = Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """First token at which another form's answer differs."""

    question: int
    """Number of the question, from 1."""
    token: int
    """Number of the token, from 1."""
    gap: float
    """Nats by which the compared model prefers its own token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Answers of a program to the questions, compared with those of the adapter on its base."""

    by: str
    """The program and its version."""
    answers: int
    equal: int
    near_ties: Sequence[Difference] = ()

    def __str__(self) -> str:
        """Return it as a sentence."""
        text = f"{self.by}: {self.equal} of {self.answers} greedy answers equal"
        for one in self.near_ties:
            text += (
                f"; answer {one.question} differs from token {one.token} on, where two tokens are "
                f"equally likely within {one.gap:.2g} nats"
            )
        return text

    def as_json(self) -> dict[str, Json]:
        """Return it for a manifest."""
        near: list[Json] = [
            {"answer": one.question, "token": one.token, "nats": round(one.gap, 6)}
            for one in self.near_ties
        ]
        return {"by": self.by, "answers": self.answers, "equal": self.equal, "near_ties": near}


def answer(model: Model, question: Tokens, stops: frozenset[int]) -> list[int]:
    """Return a model's greedy answer, with the token that ended it."""
    found: list[int] = []
    name = cache_name(model.get_base_model() if isinstance(model, PeftModel) else model)
    given, cache = list(question), None
    while len(found) < MOST_TOKENS:
        ids = torch.tensor([given], device=model.device)
        continued = dict[str, object]() if name is None or cache is None else {name: cache}
        with torch.inference_mode():
            out = model(input_ids=ids, use_cache=name is not None, **continued)
        token = int(out.logits[0, -1].argmax())
        found.append(token)
        if token in stops:
            break
        cache = None if name is None else getattr(out, name)
        given = [*given, token] if cache is None else [token]
    return found


def preference(model: Model, question: Tokens, own: int, other: int) -> float:
    """Return by how many nats a model prefers one next token to another."""
    with torch.inference_mode():
        out = model(input_ids=torch.tensor([list(question)], device=model.device))
    logits = out.logits[0, -1].float()
    return float(logits[own] - logits[other])


def likelihood(model: Model, questions: Sequence[Tokens], answers: Sequence[Tokens]) -> list[float]:
    """Return the log likelihood of each token of all answers."""
    found: list[float] = []
    for question, given in zip(questions, answers, strict=True):
        ids = torch.tensor([[*question, *given]], device=model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, len(question) - 1 : -1].float()
        picked = torch.tensor(list(given), device=model.device)
        found += logits.log_softmax(-1).gather(1, picked[:, None])[:, 0].tolist()
    return found


def first_difference(one: Tokens, other: Tokens) -> int | None:
    """Return the place of the first token that differs; None if the answers are equal."""
    if list(one) == list(other):
        return None
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def compare(
    by: str,
    questions: Sequence[Tokens],
    expected: Sequence[Tokens],
    found: Sequence[Tokens],
    model: Callable[[], Model],
    tolerance: float,
) -> Comparison:
    """Compare answers with the expected ones.

    Args:
        by: The program that gave the answers, for messages.
        questions: Tokens of the prompts.
        expected: Answers of the adapter on its base model.
        found: Answers of the program.
        model: Opens the model that tells how likely a token is: the exported weights.
        tolerance: Nats between two tokens that count as a tie.

    Raises:
        BackendError: An answer differs, and it is not a near tie.
    """
    near = []
    for number, (question, own, other) in enumerate(zip(questions, expected, found, strict=True)):
        place = first_difference(own, other)
        if place is None:
            continue
        if place >= min(len(own), len(other)):
            longer = "goes on after" if len(other) > len(own) else "stops before"
            raise _other_answer(by, number, place, f"{by} {longer} the end of the answer")
        before = [*question, *own[:place]]
        gap = abs(preference(model(), before, other[place], own[place]))
        if not gap <= tolerance:
            raise _other_answer(by, number, place, f"by {gap:.2g} nats")
        near.append(Difference(question=number + 1, token=place + 1, gap=gap))
    equal = len(questions) - len(near)
    return Comparison(by=by, answers=len(questions), equal=equal, near_ties=near)


def _other_answer(by: str, number: int, place: int, why: str) -> BackendError:
    return BackendError(
        f"the exported weights answer otherwise in {by}: answer {number + 1} differs at token "
        f"{place + 1} ({why})",
        "Report this as a defect of ftctl, with the names of the base model and of the format.",
    )
